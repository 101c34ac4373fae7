//! Any bytes → entries → what is written, as both formats. Reading ends, and what is written is read as the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullpass::docker_config::{DockerConfig, Format, read};

fuzz_target!(|bytes: &[u8]| {
    for format in [Format::DockerConfigJson, Format::DockerCfg] {
        let Ok(entries) = read(format, bytes) else {
            continue;
        };
        for registries in [&[][..], &["docker.io".into(), "eu-docker.pkg.dev".into()]] {
            let (config, _) = DockerConfig::from_entries(entries.clone(), registries);
            let again = read(Format::DockerConfigJson, &config.to_json()).expect("what we write can be read");
            let (again, dropped) = DockerConfig::from_entries(again, &[]);
            assert_eq!(again, config);
            assert!(dropped.is_empty(), "{dropped:?}");
        }
    }
});
