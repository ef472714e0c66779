"""Progressive beliefs: what showing an item is followed by, told from the few days its first users have had so far.

An item shown for the first time last week has users of one to seven days. Their traces say two things about the weeks
to come: how active they are, and how many have fallen silent. The published progressive filter reads the first, the
share active on each day, and so takes a user who will be back tomorrow and one who left for good for the same. This
one reads both: of a user observed for d days it keeps the active days and the *last* one. For users who leave for good
these are sufficient (docs/concepts/progressive.md); for others they are still means whose item-to-item covariance and
user-to-user noise past items show, and nothing else is assumed of them. What they say is read by linear-Gaussian
algebra, as one noisy reading of the item's expected days; the law of those over items, which is skewed, does the rest.
"""

from reward.progressive.belief import Belief as Belief
from reward.progressive.belief import Evidence as Evidence
from reward.progressive.prior import ItemPrior as ItemPrior
