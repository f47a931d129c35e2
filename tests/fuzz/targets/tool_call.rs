#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidegate_fuzz::tool_call(data));
