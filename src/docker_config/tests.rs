//! Reading, writing and choosing, held together.

use super::*;

#[test]
fn what_is_written_is_read_again() {
    let mut config = DockerConfig::new();
    let login = Login {
        username: "me".into(),
        password: "secret".to_owned().into(),
    };
    config
        .insert(RegistryKey::parse("quay.io").unwrap(), login.clone())
        .unwrap();
    let entries = read(Format::DockerConfigJson, &config.to_json()).unwrap();
    assert_eq!(DockerConfig::from_entries(entries, &[]), (config, vec![]));
}
