"""Settings of a run on a small log that takes a second or two: what tests of whole runs share."""

SMALL_RUN = [
    "data=log",
    "data.context=[surface]",
    "horizon_days=5",
    "split.train_days=12",
    "split.validation_days=4",
    "encoder.width=8",
    "encoder.layers=1",
    "encoder.heads=2",
    "task.active_days.head.hidden=4",
    "members=2",
    "batches.max_events=16",
    "batches.batch_rows=256",
    "trainer.accelerator=cpu",
    "features.min_item_events=2",
    "logger=csv",
]
