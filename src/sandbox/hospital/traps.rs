//! The traps of hospital data that a simulated day holds, by their numbers in `tests/traps.md`.
