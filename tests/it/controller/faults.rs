//! What is lost or spoilt beside a running controller: each heals, and the caBundle in force is never dropped first.

use super::*;

/// What somebody does.
type Fault = fn(&Site<'_>);

#[test]
fn what_is_deleted_or_edited_by_hand_heals() {
    let site = Site::on(Plane::shared());
    site.configure();
    let controller = site.control(&["--certificate-lifetime", "30s"]);
    wait_until("all is made", || site.is_at_rest());
    let faults: [(Fault, &str); 7] = [
        (
            |site| site.delete_secret("pullpass-webhook-tls"),
            "the serving certificate's Secret is deleted",
        ),
        (|site| site.set_bundle("garbage"), "garbage in a caBundle"),
        (|site| site.set_bundle(""), "an empty caBundle"),
        (replace, "kubectl replace, which wipes all of them"),
        (add_foreign, "a stranger's CA in a caBundle"),
        (
            |site| site.delete_secret("pullpass-ca"),
            "the CA's Secret is deleted",
        ),
        (
            |site| {
                site.delete_secret("pullpass-ca");
                site.delete_secret("pullpass-webhook-tls");
            },
            "both Secrets are deleted",
        ),
    ];
    for (fault, why) in faults {
        fault(&site);
        wait_until(why, || site.is_at_rest());
    }
    controller.until_ready();
    let (status, _) = controller.stop();
    assert_eq!(status, 0);
}

/// As people do it who keep a whole manifest in a file.
fn replace(site: &Site<'_>) {
    let at = configuration_path("mutating", &site.configuration);
    let mut object = site.admin().get(&at).done();
    for webhook in object["webhooks"].as_array_mut().unwrap() {
        webhook["clientConfig"]
            .as_object_mut()
            .unwrap()
            .remove("caBundle");
    }
    let metadata = object["metadata"].as_object_mut().unwrap();
    metadata.remove("managedFields");
    let ran = site
        .admin()
        .kubectl_with(&["replace", "-f", "-"], &object.to_string());
    assert_eq!(ran.status, 0, "{}", ran.stderr);
}

fn add_foreign(site: &Site<'_>) {
    let (foreign, _) = made(SystemTime::now(), Duration::from_hours(1));
    let bundle = site.bundles().swap_remove(0);
    site.set_bundle(&(bundle + &foreign.certificate));
}

#[test]
fn a_lost_ca_stays_trusted_until_nothing_of_it_is_served() {
    let site = Site::on(Plane::shared());
    site.configure();
    let _controller = site.control(&["--certificate-lifetime", "60s"]);
    wait_until("all is made", || site.is_at_rest());
    let (old_ca, old_served) = (site.ca().unwrap(), site.served().unwrap());
    site.delete_secret("pullpass-ca");
    let mut both = false;
    wait_until("the CA is replaced", || {
        // Asked in this order: what is served now was trusted before.
        let bundles = site.bundles();
        let served = site.served().unwrap();
        for bundle in &bundles {
            accepts(bundle, &old_served)
                .or_else(|error| {
                    if served == old_served {
                        Err(error)
                    } else {
                        Ok(())
                    }
                })
                .unwrap();
        }
        both |= bundles
            .iter()
            .all(|bundle| certificates_of(bundle).len() == 2);
        site.is_at_rest() && site.ca().unwrap() != old_ca
    });
    assert!(both, "old and new were trusted together");
}
