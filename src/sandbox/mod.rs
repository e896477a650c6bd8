//! A reference upstream and a simulated hospital, for the demo and the tests.

pub mod hospital;
pub mod upstream;
