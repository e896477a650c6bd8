//! Runs the sources: asks pollers on schedule, takes custody for listeners, commits batches.
