//! A simulated hospital.
