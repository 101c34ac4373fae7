//! The image: built by the steps of deploy/Dockerfile on the built binary, and run as a container runtime would.
//!
//! Its first stage, the build, is not run: it takes an image of Rust from a registry.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::command::{Ran, run_with};
use crate::plane::Plane;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Nobody's name but that of the container's `/etc/hosts`.
const HOST: &str = "api.plane.tests";

/// An image, and containers of it.
struct Image {
    directory: tempfile::TempDir,
}

impl Image {
    fn built() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Whoever the container's user is has to come to what is mounted.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut script = Command::new(Path::new(ROOT).join("tests/image/build.sh"));
        script
            .arg(env!("CARGO_BIN_EXE_pullpass"))
            .arg(directory.path());
        let ran = run_with(script, b"");
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        Self { directory }
    }

    fn buildah(&self, args: &[&str]) -> Ran {
        let at = |name: &str| self.directory.path().join(name);
        let mut command = Command::new("buildah");
        command.arg("--root").arg(at("storage"));
        command.arg("--runroot").arg(at("run"));
        command.args(["--storage-driver", "vfs"]).args(args);
        run_with(command, b"")
    }

    #[track_caller]
    fn done(&self, args: &[&str]) -> String {
        let ran = self.buildah(args);
        assert_eq!(ran.status, 0, "{args:?}: {}", ran.stderr);
        ran.stdout
    }

    fn config(&self) -> Value {
        let text = self.done(&["inspect", "--type", "image", "localhost/pullpass"]);
        serde_json::from_str::<Value>(&text).unwrap()["OCIv1"]["config"].clone()
    }

    /// The image's own command with these arguments, in a container that knows one host's name.
    fn run(&self, args: &[&str]) -> Ran {
        let examples = format!("{ROOT}/examples:/examples:ro");
        let mounted = self.directory.path().join("mounted");
        let mounted = format!("{}:/mounted:ro", mounted.display());
        let host = format!("{HOST}:127.0.0.1");
        let from = [
            "from",
            "--pull=never",
            "--add-host",
            &host,
            "localhost/pullpass",
        ];
        let container = self.done(&from);
        let config = self.config();
        let entry = config["Entrypoint"].as_array().unwrap();
        let entry = entry.iter().map(|word| word.as_str().unwrap());
        let mut run = vec!["run", "--isolation", "chroot", "--volume", &examples];
        run.extend(["--volume", &mounted, container.trim(), "--"]);
        run.extend(entry);
        self.buildah(&[&run[..], args].concat())
    }
}

#[test]
fn the_image_has_one_program_runs_it_without_root_and_resolves_names() {
    let plane = Plane::shared();
    let image = Image::built();
    let mounted = image.directory.path().join("mounted");
    fs::create_dir(&mounted).unwrap();

    let config = image.config();
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], json!(["/usr/local/bin/pullpass"]));
    adds_the_program_alone(&image);

    let version = image.run(&["--version"]);
    let want = concat!("pullpass ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!((version.status, &*version.stdout), (0, want), "{version:?}");
    let lint = image.run(&["lint", "/examples/policy.yaml"]);
    assert_eq!(lint.status, 0, "{lint:?}");
    let write = image.run(&["lint", "/examples/policy.yaml", "-o", "json=/report.json"]);
    assert!(
        write
            .stderr
            .contains("cannot write `/report.json`: Permission denied"),
        "not root: {write:?}"
    );
    let shell = image.buildah(&[
        "run",
        "--isolation",
        "chroot",
        "pullpass-working-container",
        "--",
        "sh",
    ]);
    assert!(
        shell.status != 0 && shell.stderr.contains("not found"),
        "{shell:?}"
    );

    let kubeconfig = |host: &str| {
        let admin = fs::read_to_string(&plane.admin().kubeconfig).unwrap();
        let mut text: Value = serde_json::from_str(&admin).unwrap();
        let port = plane.url.rsplit(':').next().unwrap();
        text["clusters"][0]["cluster"] = json!({
            "server": format!("https://{host}:{port}"),
            "certificate-authority-data": STANDARD.encode(&plane.ca),
            "tls-server-name": "127.0.0.1",
        });
        fs::write(mounted.join("config"), text.to_string()).unwrap();
        image.run(&["doctor", "--pre", "--kubeconfig", "/mounted/config"])
    };
    let known = kubeconfig(HOST);
    assert!(known.stdout.starts_with("ok      api-server"), "{known:?}");
    let unknown = kubeconfig("nobody.plane.tests");
    assert!(
        unknown
            .stderr
            .contains("failed to lookup address information"),
        "{unknown:?}"
    );
}

/// Beside what it stands on: the program, which nobody but root may change.
fn adds_the_program_alone(image: &Image) {
    let out = image.directory.path().join("pushed");
    image.done(&[
        "push",
        "--quiet",
        "localhost/pullpass",
        &format!("dir:{}", out.display()),
    ]);
    let manifest = fs::read(out.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let top = manifest["layers"].as_array().unwrap().last().unwrap();
    let blob = top["digest"]
        .as_str()
        .unwrap()
        .trim_start_matches("sha256:");
    let mut tar = Command::new("tar");
    tar.args(["--list", "--verbose", "--numeric-owner", "--file"])
        .arg(out.join(blob));
    let listed = run_with(tar, b"");
    assert_eq!(listed.status, 0, "{listed:?}");
    let files: Vec<Vec<&str>> = listed
        .stdout
        .lines()
        .filter(|line| !line.starts_with('d'))
        .map(|line| line.split_whitespace().collect())
        .collect();
    let [file] = &files[..] else {
        panic!("{files:?}");
    };
    let (mode, owner, name) = (file[0], file[1], file[file.len() - 1]);
    assert_eq!(
        (mode, owner, name),
        ("-rwxr-xr-x", "0/0", "usr/local/bin/pullpass")
    );
}

#[test]
fn the_build_stage_has_the_toolchain_and_every_file_that_it_reads() {
    let read = |path: &str| fs::read_to_string(Path::new(ROOT).join(path)).unwrap();
    let toolchain = read("rust-toolchain.toml");
    let (_, rest) = toolchain.split_once("channel = \"").unwrap();
    let (channel, _) = rest.split_once('"').unwrap();
    let dockerfile = read("deploy/Dockerfile");
    assert!(
        dockerfile.contains(&format!("\nARG RUST={channel}\n")),
        "{channel}"
    );

    let ignore = read("deploy/Dockerfile.dockerignore");
    let lines = ignore.lines().filter(|line| !line.starts_with('#'));
    let (all, admitted): (Vec<&str>, Vec<&str>) = lines.partition(|line| *line == "*");
    assert_eq!(all.len(), 1, "all else stays out");
    let admitted: Vec<&str> = admitted
        .iter()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    let is_admitted = |path: &str| {
        let mut admitted = admitted.iter();
        admitted.any(|part| path == *part || path.starts_with(&format!("{part}/")))
    };
    for path in [
        "Cargo.toml",
        "Cargo.lock",
        "src/main.rs",
        "benches/engine.rs",
        "examples/constant.rs",
    ] {
        assert!(
            is_admitted(path) && Path::new(ROOT).join(path).exists(),
            "{path}"
        );
    }
    // What the code takes in when it is compiled.
    let mut included = 0;
    let mut walk = vec![Path::new(ROOT).join("src")];
    while let Some(path) = walk.pop() {
        if path.is_dir() {
            walk.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for (_, rest) in text
            .match_indices("include_str!(\"")
            .map(|(at, mark)| text.split_at(at + mark.len()))
        {
            let (name, _) = rest.split_once('"').unwrap();
            let file = path.parent().unwrap().join(name).canonicalize().unwrap();
            let file = file.strip_prefix(ROOT).unwrap().to_str().unwrap();
            assert!(is_admitted(file), "{}: {file}", path.display());
            included += 1;
        }
    }
    assert!(included > 0);
}
