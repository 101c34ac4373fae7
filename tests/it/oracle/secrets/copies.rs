//! What we write, given to the kubelet: it reads the same, finds it for the images it is for, and misses
//! nothing that it finds in a source.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pullpass::docker_config::{DockerConfig, Entry, Format, Login, RegistryKey, read};
use pullpass::hosts::docker_hub;
use pullpass::image::ImageRef;
use serde::Serialize;

use super::super::random::Random;
use super::super::secret_generator::{HOSTS, SecretGenerator};
use super::super::{KUBELET, ask};
use super::{Answer, Found, Known, Secret, assert_none, same};

#[derive(Serialize)]
struct Question {
    secret: Secret,
    image: String,
}

#[test]
fn a_kubelet_reads_what_is_written_and_finds_it_for_the_images_it_is_for() {
    const WANTED: usize = 20_000;
    let mut generator = SecretGenerator::new(0x0077_7269_7474_656e);
    let mut configs = Vec::with_capacity(WANTED);
    while configs.len() < WANTED {
        let count = 1 + generator.random.below(5);
        let entries = (0..count)
            .map(|index| entry(&mut generator, index))
            .collect();
        let registries = registries(&mut generator.random);
        let (config, _) = DockerConfig::from_entries(entries, &registries);
        if !config.is_empty() {
            configs.push(config);
        }
    }

    let written = |config: &DockerConfig| Secret::of(Format::DockerConfigJson, &config.to_json());
    let questions: Vec<Secret> = configs.iter().map(written).collect();
    let answers: Vec<Answer> = ask(&KUBELET, "secret", &questions);
    let mut wrong = Vec::new();
    let mut keys = BTreeSet::new();
    for (config, answer) in configs.iter().zip(&answers) {
        let entries = read(Format::DockerConfigJson, &config.to_json());
        if let Err(why) = same(&entries, answer) {
            wrong.push(format!("{config:?}: {why}"));
        }
        keys.extend(config.keys().map(ToString::to_string));
    }
    assert_none(&wrong, configs.len());

    let mut asked: Vec<(Question, Vec<&Login>)> = Vec::new();
    for config in &configs {
        for image in images(config) {
            let wanted = wanted(config, &ImageRef::parse(&image).unwrap());
            let secret = written(config);
            asked.push((Question { secret, image }, wanted));
        }
    }
    let questions: Vec<&Question> = asked.iter().map(|(question, _)| question).collect();
    let answers: Vec<Answer> = ask(&KUBELET, "lookup", &questions);
    let mut found = 0;
    for ((question, wanted), answer) in asked.iter().zip(&answers) {
        let Answer::Found { entries } = answer else {
            panic!("what is written is refused: {answer:?}");
        };
        let wanted: Vec<Known> = wanted
            .iter()
            .map(|login| {
                let password = login.password.expose();
                (Vec::new(), login.username.clone().into(), password.into())
            })
            .collect();
        let theirs: Vec<Known> = entries.iter().map(Found::known).collect();
        if wanted != theirs {
            wrong.push(format!("{}: {theirs:?}, not {wanted:?}", question.image));
        }
        found += theirs.len();
    }
    println!(
        "{} Secrets with {} different keys, {} lookups, {found} logins found",
        configs.len(),
        keys.len(),
        asked.len()
    );
    assert_none(&wrong, asked.len());
    assert!(keys.len() > 100, "{} keys are too few", keys.len());
}

/// Why we find a login where a kubelet with the source does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Gain {
    /// Hosts are written in lower case, as images have them.
    Case,
    /// Docker Hub has one login, whichever of its names the source or the image has.
    DockerHub,
}

#[test]
fn nothing_that_a_kubelet_finds_in_a_source_is_lost_in_a_copy() {
    const PATHS: [&str; 5] = ["/x", "/org/app", "/organic/x", "/acme/app", "/v2/org/app"];
    let mut generator = SecretGenerator::new(0x006c_6f73_7373_6573);
    let keys: BTreeSet<String> = (0..4_000).map(|_| generator.key()).collect();
    let hosts: Vec<Box<str>> = HOSTS.into_iter().map(Box::from).collect();
    let images: BTreeSet<String> = HOSTS
        .iter()
        .chain(&ALIASES)
        .flat_map(|host| PATHS.map(|path| format!("{host}{path}")))
        .map(|image| ImageRef::parse(&image).unwrap().to_string())
        .collect();
    let login = || Login {
        username: "me".into(),
        password: "secret".to_owned().into(),
    };
    let mut asked: Vec<(Question, bool, bool)> = Vec::new();
    for key in &keys {
        let login_of = BTreeMap::from([("auth", STANDARD.encode("me:secret"))]);
        let source = BTreeMap::from([(key, login_of)]);
        let secret = Secret::of(Format::DockerCfg, &serde_json::to_vec(&source).unwrap());
        let entry = Entry {
            key: key.clone(),
            login: login(),
        };
        let (config, _) = DockerConfig::from_entries(vec![entry], &hosts);
        let hub = config.keys().any(|key| key.host() == "index.docker.io");
        for image in &images {
            let ours = !wanted(&config, &ImageRef::parse(image).unwrap()).is_empty();
            let (secret, image) = (secret.clone(), image.clone());
            asked.push((Question { secret, image }, ours, hub));
        }
    }
    let questions: Vec<&Question> = asked.iter().map(|(question, ..)| question).collect();
    let answers: Vec<Answer> = ask(&KUBELET, "lookup", &questions);
    let mut gains: BTreeMap<Gain, usize> = BTreeMap::new();
    let (mut wrong, mut both) = (Vec::new(), 0);
    for ((index, (question, ours, hub)), answer) in asked.iter().enumerate().zip(&answers) {
        let Answer::Found { entries } = answer else {
            panic!("a source is refused: {answer:?}");
        };
        let key = keys.iter().nth(index / images.len()).unwrap();
        let host = question.image.split('/').next().unwrap();
        match (*ours, !entries.is_empty()) {
            (true, true) => both += 1,
            (false, false) => {}
            (false, true) => wrong.push(format!("{key} is lost for {}", question.image)),
            // A kubelet takes `localhost` for Docker Hub too.
            (true, false)
                if *hub && (docker_hub::canonical(host) == "docker.io" || host == "localhost") =>
            {
                *gains.entry(Gain::DockerHub).or_default() += 1;
            }
            (true, false) if key.contains(|c: char| c.is_ascii_uppercase()) => {
                *gains.entry(Gain::Case).or_default() += 1;
            }
            (true, false) => wrong.push(format!("{key} is new for {}", question.image)),
        }
    }
    println!(
        "{} keys, {} lookups, {both} found by both; more: {gains:?}",
        keys.len(),
        asked.len()
    );
    assert_none(&wrong, asked.len());
    assert!(both > 1_000, "{both} that both find are too few");
    assert!(
        gains.keys().eq([&Gain::Case, &Gain::DockerHub]),
        "some gain never or newly occurs: {gains:?}"
    );
}

/// An entry with a login of its own, or nearly.
fn entry(generator: &mut SecretGenerator, index: usize) -> Entry {
    let random = &mut generator.random;
    let username = random.pick(&[
        "AWS",
        "me",
        "me",
        "00000000-0000-0000-0000-000000000000",
        "",
        "a:b",
    ]);
    let password = random.pick(&["", "secret", "a:b", "{\n\"key\": \"é\"\n}", "\u{0}"]);
    let password = match password {
        "secret" => format!("secret-{index}"),
        other => other.to_owned(),
    };
    Entry {
        login: Login {
            username: username.into(),
            password: password.into(),
        },
        key: generator.key(),
    }
}

fn registries(random: &mut Random) -> Vec<Box<str>> {
    let count = random.below(4);
    (0..count).map(|_| random.pick(&HOSTS).into()).collect()
}

/// Docker Hub's other names, which images can have too.
const ALIASES: [&str; 2] = ["registry-1.docker.io", "registry.hub.docker.com"];

/// Images below each key, and one of each host that is below none of its paths.
fn images(config: &DockerConfig) -> Vec<String> {
    let mut images = Vec::new();
    for key in config.keys() {
        let hosts = match key.host() {
            "index.docker.io" => [&["docker.io"][..], &ALIASES].concat(),
            other => vec![other],
        };
        for host in hosts {
            for path in [key.path(), "/other"] {
                let image = ["/x", "x", ""]
                    .into_iter()
                    .map(|end| format!("{host}{path}{end}"))
                    .find(|image| ImageRef::parse(image).is_ok());
                let image = image.unwrap_or_else(|| panic!("no image is below {key}"));
                images.push(ImageRef::parse(&image).unwrap().to_string());
            }
        }
    }
    images
}

/// What a kubelet should find for an image: the logins of its registry whose path its repository begins
/// with, in the reverse order of their keys. Docker Hub's own only when there is no other, and then also
/// for `localhost`, which a kubelet does not take for a registry.
fn wanted<'c>(config: &'c DockerConfig, image: &ImageRef<'_>) -> Vec<&'c Login> {
    let host = match docker_hub::canonical(image.registry()) {
        docker_hub::DOCKER_IO => "index.docker.io",
        other => other,
    };
    let repository = format!("/{}", image.repository());
    let mut keys: Vec<&RegistryKey> = config
        .keys()
        .filter(|key| key.host() == host && repository.starts_with(key.path()))
        .collect();
    keys.sort_by_key(|key| std::cmp::Reverse(key.to_string()));
    match image.registry() {
        docker_hub::DOCKER_IO if keys.len() > 1 => keys.retain(|key| !key.path().is_empty()),
        "localhost" if keys.is_empty() => {
            let hub = |key: &&RegistryKey| key.to_string() == "index.docker.io";
            keys.extend(config.keys().find(hub));
        }
        _ => {}
    }
    keys.into_iter().filter_map(|key| config.get(key)).collect()
}
