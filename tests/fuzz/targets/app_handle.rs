#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidegate_fuzz::app_handle(data));
