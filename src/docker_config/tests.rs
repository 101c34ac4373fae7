//! Properties of reading, choosing and writing together, on generated and on any input.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::*;

/// Keys as people and tools write them, and nearly.
fn key() -> impl Strategy<Value = String> {
    let scheme = select(vec!["", "https://", "http://", "me:pw@"]);
    let host = select(vec![
        "quay.io",
        "Quay.io",
        "docker.io",
        "index.docker.io",
        "registry-1.docker.io",
        "eu-docker.pkg.dev",
        "*.pkg.dev",
        "*.io",
        "localhost:5000",
        "[::1]:5000",
        "quay",
        "a b",
    ]);
    let path = select(vec![
        "",
        "/",
        "/v1/",
        "/v1",
        "/org",
        "/org/app",
        "/v1/v2/org",
        "/Org",
    ]);
    let made =
        (scheme, host, path).prop_map(|(scheme, host, path)| format!("{scheme}{host}{path}"));
    prop_oneof![8 => made, 1 => any::<String>()]
}

fn entry() -> impl Strategy<Value = Entry> {
    let username = prop_oneof![4 => "[a-zA-Z0-9_-]{1,8}", 1 => any::<String>()];
    let password = prop_oneof![4 => "[a-zA-Z0-9_=:-]{1,8}", 1 => any::<String>()];
    (key(), username, password).prop_map(|(key, username, password)| Entry {
        key,
        login: Login {
            username,
            password: password.into(),
        },
    })
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::vec(entry(), 0..8)
}

fn registries() -> impl Strategy<Value = Vec<Box<str>>> {
    let host = select(vec![
        "quay.io",
        "docker.io",
        "eu-docker.pkg.dev",
        "us-docker.pkg.dev",
    ]);
    prop::collection::vec(host.prop_map(Box::from), 0..3)
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(entries in entries(), registries in registries()) {
        let (config, _) = DockerConfig::from_entries(entries, &registries);
        let json = config.to_json();
        prop_assert_eq!(Digest::of(&json), config.digest());
        let read = read(Format::DockerConfigJson, &json).unwrap();
        for entry in &read {
            let key = RegistryKey::parse(&entry.key).unwrap();
            prop_assert_eq!(config.get(&key), Some(&entry.login));
        }
        let (again, dropped) = DockerConfig::from_entries(read, &[]);
        prop_assert_eq!(dropped, vec![]);
        prop_assert_eq!(again.to_json(), json);
        prop_assert_eq!(again, config);
    }

    #[test]
    fn every_entry_is_written_or_told_about(entries in entries(), registries in registries()) {
        let count = entries.len();
        let (config, dropped) = DockerConfig::from_entries(entries.clone(), &registries);
        prop_assert!(config.is_empty() || count > 0);
        for entry in &entries {
            let written = config.keys().any(|key| config.get(key) == Some(&entry.login));
            let told = dropped.iter().any(|dropped| dropped.key == shown(&entry.key));
            prop_assert!(written || told, "{entry:?}");
        }
        for key in config.keys() {
            let login = config.get(key).unwrap();
            prop_assert!(entries.iter().any(|entry| entry.login == *login));
            prop_assert!(!login.username.is_empty() && !login.password.expose().is_empty());
            prop_assert!(!login.username.contains(|c: char| c == ':' || c.is_control()));
        }
    }

    #[test]
    fn the_order_of_insertion_says_nothing(entries in entries()) {
        let (config, _) = DockerConfig::from_entries(entries, &[]);
        let mut again = DockerConfig::new();
        let mut keys: Vec<&RegistryKey> = config.keys().collect();
        keys.reverse();
        for key in keys {
            again.insert(key.clone(), Login::default()).unwrap_err();
            again.insert(key.clone(), config.get(key).unwrap().clone()).unwrap();
        }
        prop_assert_eq!(again.to_json(), config.to_json());
    }

    #[test]
    fn a_key_parses_again_as_itself(text in key()) {
        if let Ok(key) = RegistryKey::parse(&text) {
            prop_assert_eq!(RegistryKey::parse(&key.to_string()), Ok(key.clone()));
            prop_assert!(!key.to_string().contains(|c: char| c == '*' || c.is_uppercase() || !c.is_ascii_graphic()));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(Format::DockerConfigJson, &bytes);
        let _ = read(Format::DockerCfg, &bytes);
    }

    #[test]
    fn a_damaged_text_is_read_or_refused(entries in entries(), at in any::<usize>(), byte in any::<u8>(), cut in any::<bool>()) {
        let (config, _) = DockerConfig::from_entries(entries, &[]);
        let mut json = config.to_json();
        let at = at % json.len();
        json[at] = byte;
        if cut {
            json.truncate(at);
        }
        if let Ok(entries) = read(Format::DockerConfigJson, &json) {
            let (config, _) = DockerConfig::from_entries(entries, &[]);
            prop_assert!(read(Format::DockerConfigJson, &config.to_json()).is_ok());
        }
    }
}

/// A password, and every text that gives part of it away: its base64 at each of the three offsets.
const MARKER: &str = "hunter2-marker-hunter2";

fn gives_away(text: &str) -> bool {
    let encoded = |offset: usize| {
        let text = STANDARD.encode("x".repeat(offset) + MARKER);
        text[4..text.len() - 4].to_owned()
    };
    text.contains("hunter2") || (0..3).any(|offset| text.contains(&encoded(offset)[..8]))
}

/// Every text that anything here prints for a document.
fn printed(format: Format, document: &[u8], registries: &[Box<str>]) -> Vec<String> {
    let entries = match read(format, document) {
        Ok(entries) => entries,
        Err(error) => return vec![format!("{error:?}"), error.to_string()],
    };
    let mut texts = vec![format!("{entries:?}")];
    for Entry { key, login } in &entries {
        let key = RegistryKey::parse(key);
        texts.push(format!("{key:?}"));
        texts.push(
            key.as_ref()
                .map_or_else(ToString::to_string, ToString::to_string),
        );
        if let Ok(key) = key {
            let inserted = DockerConfig::new().insert(key, login.clone());
            texts.push(format!("{inserted:?}"));
        }
    }
    let (config, dropped) = DockerConfig::from_entries(entries, registries);
    texts.extend([
        format!("{config:?} {dropped:?}"),
        format!("{}", config.digest()),
    ]);
    texts.extend(config.keys().map(ToString::to_string));
    texts.extend(dropped.iter().map(ToString::to_string));
    texts
}

proptest! {
    #[test]
    fn nothing_that_is_printed_gives_a_password_away(
        key in key(),
        place in 0_usize..9,
        user in select(vec!["me", "", "m:e", "m\ne"]),
        registries in registries(),
        cut in 0_usize..4,
    ) {
        let auth = STANDARD.encode(format!("{user}:{MARKER}"));
        let (mut key, mut login) = (key, json!({"auth": auth}));
        match place {
            0 => {}
            1 => login = json!({"username": user, "password": MARKER}),
            2 => login = json!({"username": user, "password": [MARKER]}),
            3 => login = json!({"auth": auth[cut..auth.len() - cut]}),
            4 => login = json!({"auth": MARKER}),
            5 => login = json!({"auth": STANDARD.encode(MARKER)}),
            6 => login = Value::String(auth),
            7 => key = format!("https://{user}:{MARKER}@quay.io"),
            _ => key = format!("https://quay.io/?token={MARKER}#{MARKER}"),
        }
        let map = json!({key: login});
        let (json, cfg) = (json!({"auths": map}).to_string(), map.to_string());
        let damaged = &json.as_bytes()[..json.len() - cut];
        let texts = [
            printed(Format::DockerConfigJson, json.as_bytes(), &registries),
            printed(Format::DockerConfigJson, damaged, &registries),
            printed(Format::DockerCfg, cfg.as_bytes(), &registries),
        ];
        for text in texts.concat() {
            prop_assert!(!gives_away(&text), "{text}");
        }
    }
}

#[test]
fn a_format_is_known_by_the_type_of_its_secret_alone() {
    for (secret_type, want) in [
        (
            "kubernetes.io/dockerconfigjson",
            Some((Format::DockerConfigJson, ".dockerconfigjson")),
        ),
        (
            "kubernetes.io/dockercfg",
            Some((Format::DockerCfg, ".dockercfg")),
        ),
        ("Kubernetes.io/dockercfg", None),
        ("Opaque", None),
        ("", None),
    ] {
        let format = Format::of_type(secret_type);
        assert_eq!(
            format.map(|format| (format, format.key())),
            want,
            "{secret_type}"
        );
        assert!(format.is_none_or(|format| format.secret_type() == secret_type));
    }
}
