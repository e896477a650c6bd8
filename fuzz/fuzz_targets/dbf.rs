#![no_main]

#[path = "../../connectors/formats/tests/targets/mod.rs"]
#[allow(dead_code, reason = "each program runs one target")]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::dbase(data));
