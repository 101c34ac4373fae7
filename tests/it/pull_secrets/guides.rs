//! What the pages about credentials tell people to do, done: their commands by bash and kubectl, their roles in a cluster.

use std::process::Command;

use super::*;
use crate::plane::kubectl;

const POLICY: &str = "
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: company}
spec:
  rules:
    - name: hub
      match: {images: [docker.io], SELECTED}
      inject: {imagePullSecrets: [regcred@]}
  credentials:
    - {name: regcred@, from: {secretRef: {name: dockerhub}}}
";
const EXISTING: (&str, &str) = ("{secretRef: {name: dockerhub}}", "{existing: {}}");

fn page(name: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/");
    std::fs::read_to_string(format!("{path}{name}")).unwrap()
}

/// The blocks of a page in this language, without their margin.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut margin = None;
    for line in page.lines() {
        let bare = line.trim_start();
        match margin {
            None if bare == format!("```{language}") => {
                margin = Some(line.len() - bare.len());
                found.push(String::new());
            }
            Some(_) if bare == "```" => margin = None,
            Some(margin) => {
                let text = line.get(margin..).unwrap_or_default();
                found.last_mut().unwrap().extend([text, "\n"]);
            }
            None => {}
        }
    }
    found
}

/// The one command of a page that has these words, with the test's names in place of the page's.
fn command(estate: &Estate<'_>, name: &str, words: &str) -> String {
    let mut all = blocks(&page(name), "sh");
    all.retain(|block| block.contains(words));
    let [block] = &all[..] else {
        panic!("{words} in {name}: {all:?}")
    };
    block
        .replace("pullpass-system", estate.own())
        .replace("regcred", &estate.name("regcred"))
}

/// What it prints.
fn run(estate: &Estate<'_>, script: &str, token: &str) -> String {
    let path = kubectl();
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .env(
            "PATH",
            format!("{}:/usr/bin:/bin", path.parent().unwrap().display()),
        )
        .env("KUBECONFIG", &estate.admin().kubeconfig)
        .env("TOKEN", token)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}{said}");
    String::from_utf8(output.stdout).unwrap()
}

fn has_login(estate: &Estate<'_>, namespace: &str, login: &str) -> bool {
    let logins = estate.logins(namespace, "regcred").unwrap_or_default();
    let end = format!(" {login}");
    !logins.is_empty() && logins.iter().all(|line| line.ends_with(&end))
}

#[test]
fn a_source_is_made_and_changed_as_the_guide_says() {
    let estate = Estate::on(Plane::shared(), POLICY);
    let web = estate.namespace();
    let blocks = blocks(&page("credentials/secret-ref.md"), "sh");
    let named = |words: &[&str]| {
        let is = |block: &&String| words.iter().all(|word| block.contains(word));
        blocks
            .iter()
            .find(is)
            .unwrap()
            .replace("pullpass-system", estate.own())
    };
    run(&estate, &named(&["create secret"]), "one");
    estate.put(POLICY);
    let controller = estate.control();
    wait_until("it is copied", || has_login(&estate, &web, "robot:one"));
    run(&estate, &named(&["create secret", "kubectl apply"]), "two");
    wait_until("it follows", || has_login(&estate, &web, "robot:two"));
    let all = named(&["get secrets"]).replace("dockerhub-creds", &estate.name("regcred"));
    assert!(run(&estate, &all, "").contains(&web));
    let told = run(&estate, &command(&estate, "events.md", "get events"), "");
    assert!(told.contains("CredentialRefreshed"), "{told}");
    controller.stop();
}

#[test]
fn secrets_that_keep_their_names_are_handed_over_as_the_guide_says() {
    let estate = Estate::on(Plane::shared(), POLICY);
    let name = estate.name("regcred");
    let plant = |secret: &Value| {
        let namespace = estate.namespace();
        let at = format!("{}?fieldManager=test", secret_path(&namespace, &name));
        estate.admin().apply(&at, secret).done();
        namespace
    };
    // Of a CronJob, of a replicator with labels of its own, and of a type that stays what it is.
    let made = plant(&pull_secret(&name, &[("docker.io", "cron:job")]));
    let mut labelled = pull_secret(&name, &[("docker.io", "repli:cator")]);
    labelled["metadata"]["labels"] = json!({OURS: "reflector"});
    let labelled = plant(&labelled);
    let opaque = plant(&json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": name}, "stringData": {"a": "b"},
    }));
    let empty = estate.namespace();
    estate.source("dockerhub", &[("docker.io", "robot:one")]);
    // The source may have the name of the copies.
    estate.source(&name, &[("docker.io", "not:touched")]);
    estate.put(&POLICY.replace(EXISTING.0, EXISTING.1));
    let controller = estate.control();
    let shows = |state: &str, want: usize| {
        let series = format!(
            "pullpass_credential_secrets{{credential=\"{name}\",state=\"{state}\"}} {want}\n"
        );
        wait_until(&series, || {
            controller.get("/metrics").body.contains(&series)
        });
    };
    shows("missing", 1);
    assert!(estate.secret(&empty, &name).is_none(), "nothing is written");

    estate.put(POLICY);
    wait_until("the empty one has it", || {
        has_login(&estate, &empty, "robot:one")
    });
    shows("foreign", 3);
    let before = estate.secret(&made, &name).unwrap();
    run(
        &estate,
        &command(&estate, "credentials/migration.md", "label secret"),
        "",
    );
    for namespace in [&made, &labelled] {
        wait_until("it is handed over", || {
            has_login(&estate, namespace, "robot:one")
        });
    }
    let after = estate.secret(&made, &name).unwrap();
    assert_eq!(
        before["metadata"]["uid"], after["metadata"]["uid"],
        "it was there all the time"
    );
    shows("foreign", 1);
    run(
        &estate,
        &command(&estate, "credentials/migration.md", "delete secret"),
        "",
    );
    wait_until("it is made anew", || {
        has_login(&estate, &opaque, "robot:one")
    });
    shows("foreign", 0);
    let source = estate.secret(estate.own(), &name).unwrap();
    assert_eq!(logins(&source).unwrap(), ["docker.io not:touched"]);
    assert!(source["metadata"].get("labels").is_none(), "{source}");

    // Back.
    estate.put(&POLICY.replace(EXISTING.0, EXISTING.1));
    wait_until("it is not kept any more", || {
        estate.status()["names"] == json!([])
    });
    assert!(has_login(&estate, &made, "robot:one"), "it stays");
    controller.stop();
}

#[test]
fn an_editor_of_policies_edits_one_config_map_and_sees_nothing_else() {
    let estate = Estate::on(Plane::shared(), POLICY);
    let own = estate.own();
    let page = page("credentials/editors.md");
    run(
        &estate,
        &command(&estate, "credentials/editors.md", "create configmap"),
        "",
    );
    let [role] = &blocks(&page, "yaml")[..] else {
        panic!("{page}")
    };
    let role = role.replace("pullpass-system", own);
    let ran = estate.admin().kubectl_with(&["apply", "-f", "-"], &role);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let group = "policy-editors";
    let may = |verb: &str, what: &str| {
        let args = [
            "auth",
            "can-i",
            verb,
            what,
            "--namespace",
            own,
            "--as",
            "eve",
            "--as-group",
            group,
        ];
        estate.admin().kubectl(&args).stdout.trim() == "yes"
    };
    wait_until("the role is in force", || {
        may("get", "configmaps/team-policies")
    });
    for (verb, what, want) in [
        ("patch", "configmaps/team-policies", true),
        ("update", "configmaps/team-policies", true),
        ("delete", "configmaps/team-policies", false),
        ("patch", "configmaps/pullpass-status-0", false),
        ("get", "configmaps/another", false),
        ("create", "configmaps", false),
        ("list", "configmaps", false),
        ("get", "secrets/dockerhub", false),
    ] {
        assert_eq!(may(verb, what), want, "{verb} {what}");
    }
}
