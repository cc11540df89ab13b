//! A configuration is read, or its problems are told, without a panic.
#![no_main]

use std::io;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sealgate::config::{Config, Sources};

fuzz_target!(|text: &str| {
    let variable = |name: &str| (name == "SECRET").then(|| "a-secret-of-some-length".to_owned());
    let file = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
    match Config::load(&Sources::new(&variable, &file).with_text("fuzz", text)) {
        Ok(loaded) => drop(loaded.summary()),
        Err(error) => drop(error.to_string()),
    }
});
