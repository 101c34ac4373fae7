//! The two Secrets of certificates: whose they are, and what is written into them.
//!
//! Objects in, objects out; what they mean is read in `facts`, and written by `apply`.

use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::apply::{Content, Expected, OURS};
use super::facts::{self, CERTIFICATE, COMPLETE_SINCE, KEY, PREVIOUS, VOUCHER};
use super::watching::Known;
use crate::plan::certificates::{Authority, Ca, Flaw, Held, Serving};
use crate::server::certificate::Keyed;

/// What stands in the place of a Secret of ours.
pub(super) fn held<T>(
    secret: &Known<Secret>,
    read: impl FnOnce(&Secret) -> Result<T, Flaw>,
) -> Held<T> {
    let Known::Present(secret) = secret else {
        return Held::Absent;
    };
    let labels = secret.metadata.labels.as_ref();
    let (label, value) = OURS;
    if labels
        .and_then(|labels| labels.get(label))
        .map(String::as_str)
        != Some(value)
    {
        return Held::Foreign;
    }
    match read(secret) {
        Ok(held) => Held::Whole(held),
        Err(flaw) => Held::Unusable(flaw),
    }
}

/// A Secret's data; there may be none.
pub(super) fn data(secret: &Secret) -> &BTreeMap<String, ByteString> {
    static NOTHING: BTreeMap<String, ByteString> = BTreeMap::new();
    secret.data.as_ref().unwrap_or(&NOTHING)
}

pub(super) fn expected(secret: Option<&Secret>) -> Option<Expected> {
    let Some(secret) = secret else {
        return Some(Expected::Absent);
    };
    let metadata = &secret.metadata;
    match (&metadata.uid, &metadata.resource_version) {
        (Some(uid), Some(version)) => Some(Expected::Version {
            uid: uid.clone(),
            version: version.clone(),
        }),
        _ => None,
    }
}

pub(super) fn content_of_ca(
    pair: &Keyed,
    previous: &[Authority],
    complete_since: Option<SystemTime>,
) -> Content {
    let mut data = BTreeMap::from([
        (CERTIFICATE.to_owned(), bytes(&pair.certificate)),
        (KEY.to_owned(), bytes(&pair.key)),
    ]);
    if !previous.is_empty() {
        let previous: String = previous.iter().map(|a| a.pem.as_str()).collect();
        data.insert(PREVIOUS.to_owned(), bytes(&previous));
    }
    let since = complete_since.and_then(facts::annotation);
    let annotations = since.map(|since| (COMPLETE_SINCE.to_owned(), since));
    Content {
        data,
        annotations: annotations.into_iter().collect(),
    }
}

pub(super) fn content_of_serving(pair: &Keyed, ca: &Ca) -> Option<Content> {
    let data = BTreeMap::from([
        (CERTIFICATE.to_owned(), bytes(&pair.certificate)),
        (KEY.to_owned(), bytes(&pair.key)),
        (VOUCHER.to_owned(), bytes(&ca.bundle())),
    ]);
    // One that the CA does not vouch for would be made again, for ever.
    let made = facts::serving(&data, &[&ca.authority], |_| SystemTime::now());
    match made {
        Ok(Serving { signed_by, .. }) if !signed_by.is_empty() => Some(Content {
            data,
            annotations: BTreeMap::new(),
        }),
        _ => None,
    }
}

fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::plan::certificates::Validity;
    use crate::server::certificate;

    #[test]
    fn a_secret_is_ours_by_its_label_alone() {
        for (labels, want, why) in [
            (json!({OURS.0: OURS.1}), Held::Whole(()), "ours"),
            (json!({OURS.0: "helm"}), Held::Foreign, "another manager's"),
            (json!({}), Held::Foreign, "no label"),
        ] {
            let secret = json!({"metadata": {"name": "s", "labels": labels}});
            let secret: Secret = serde_json::from_value(secret).unwrap();
            assert_eq!(held(&Known::Present(secret), |_| Ok(())), want, "{why}");
        }
        assert_eq!(held(&Known::Absent, |_| Ok(())), Held::Absent);
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let now = SystemTime::now();
        let validity = Validity::starting(now, Duration::from_hours(1));
        let pair = certificate::authority(validity).unwrap();
        let old = certificate::authority(validity).unwrap();
        let old = facts::authorities(old.certificate.as_bytes());
        let content = content_of_ca(&pair, &old, Some(now));
        let ca = facts::ca(&content.data, &content.annotations).unwrap();
        assert_eq!((&ca.previous, ca.complete_since), (&old, Some(now)));

        let names = ["a.example".to_owned()];
        let made = certificate::serving(&pair, &names, validity).unwrap();
        let content = content_of_serving(&made, &ca).unwrap();
        let voucher = facts::authorities(&content.data[VOUCHER].0);
        assert_eq!(voucher.len(), 2, "both vouch while the CA is replaced");

        let other = certificate::authority(validity).unwrap();
        let stray = certificate::serving(&other, &names, validity).unwrap();
        assert!(
            content_of_serving(&stray, &ca).is_none(),
            "not signed by the CA"
        );
    }
}
