//! Turns a host of Azure Container Registry into the registry's name, its hash, the region of a geo
//! endpoint and the cloud. Data endpoints, which serve only layers to redirected clients, are no
//! registries. Never says whether the registry exists.

use super::runs::is_run;

/// A registry of Azure Container Registry, as its host tells.
///
/// The grammar is `NAME[-HASH].SUFFIX`, and for the regional endpoints of a geo-replicated registry
/// `NAME[-HASH].REGION.geo.SUFFIX`; the suffix is the cloud's. A name has no hyphen, so the first one
/// begins the hash, which Azure adds to registries made with a domain name label scope: then one
/// name can be many tenants', and the hash tells whose.
///
/// Sources: [endpoints](https://learn.microsoft.com/azure/container-registry/container-registry-endpoint-reference);
/// Azure/azure-cli, `acr/_validators.py` (name and hash) and `acr/tests` on regional endpoints.
///
/// ```
/// use pullpass::hosts::azure::AcrHost;
///
/// let acr = AcrHost::parse("contoso-d7ezgzevdwfvc8ht.eastus.geo.azurecr.io").unwrap();
/// assert_eq!((acr.registry, acr.hash), ("contoso", Some("d7ezgzevdwfvc8ht")));
/// assert_eq!(AcrHost::parse("contoso.eastus.data.azurecr.io"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcrHost<'a> {
    /// The registry's name, without the hash.
    pub registry: &'a str,
    /// The hash of its domain name label.
    pub hash: Option<&'a str>,
    /// The region, if the host is a geo endpoint.
    pub region: Option<&'a str>,
    /// The cloud whose suffix it has.
    pub cloud: AcrCloud,
}

impl<'a> AcrHost<'a> {
    /// The registry that `host` (lower case, no port) stands for; `None` when it is not ACR's.
    #[must_use]
    pub fn parse(host: &'a str) -> Option<Self> {
        let (label, rest) = host.split_once('.')?;
        let (region, suffix) = if rest.starts_with("azurecr.") {
            (None, rest)
        } else {
            let (region, rest) = rest.split_once('.')?;
            (Some(region), rest.strip_prefix("geo.")?)
        };
        let cloud = AcrCloud::of(suffix)?;
        let (registry, hash) = match label.split_once('-') {
            Some((registry, hash)) => (registry, Some(hash)),
            None => (label, None),
        };
        let ours =
            is_registry_name(registry) && hash.is_none_or(is_run) && region.is_none_or(is_run);
        ours.then_some(Self {
            registry,
            hash,
            region,
            cloud,
        })
    }
}

/// An Azure cloud with registries.
///
/// Sources: `pkg/azclient/cloud.go` and `pkg/credentialprovider/azure_credentials.go` in
/// kubernetes-sigs/cloud-provider-azure; for the air-gapped clouds the Docker tasks of Azure Pipelines
/// and for those of national partners the tests of Azure/azure-cli.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcrCloud {
    /// The public cloud, `azurecr.io`.
    Public,
    /// China, operated by 21Vianet, `azurecr.cn`.
    China,
    /// US Government, `azurecr.us`.
    UsGovernment,
    /// Germany until 2021, `azurecr.de`: closed, but the kubelet's plugin knows it still.
    GermanyLegacy,
    /// US Government, air-gapped (US Nat), `azurecr.eaglex.ic.gov`.
    UsNat,
    /// US Government, air-gapped (US Sec), `azurecr.microsoft.scloud`.
    UsSec,
    /// France, operated by Bleu, `azurecr.sovcloud-azure.fr`.
    France,
    /// Germany, operated by Delos, `azurecr.sovcloud-azure.de`.
    Germany,
}

impl AcrCloud {
    fn of(suffix: &str) -> Option<Self> {
        Some(match suffix {
            "azurecr.io" => Self::Public,
            "azurecr.cn" => Self::China,
            "azurecr.us" => Self::UsGovernment,
            "azurecr.de" => Self::GermanyLegacy,
            "azurecr.eaglex.ic.gov" => Self::UsNat,
            "azurecr.microsoft.scloud" => Self::UsSec,
            "azurecr.sovcloud-azure.fr" => Self::France,
            "azurecr.sovcloud-azure.de" => Self::Germany,
            _ => return None,
        })
    }
}

/// Whether `text` is a registry's name: 5 to 50 letters and digits (lower case here, as in hosts).
///
/// Source: [naming rules](https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules#microsoftcontainerregistry).
#[must_use]
pub fn is_registry_name(text: &str) -> bool {
    (5..=50).contains(&text.len()) && is_run(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_parse_in_every_cloud() {
        const HASH: Option<&str> = Some("d7ezgzevdwfvc8ht");
        for (host, hash, region, cloud) in [
            ("contoso.azurecr.io", None, None, AcrCloud::Public),
            ("contoso.azurecr.cn", None, None, AcrCloud::China),
            ("contoso.azurecr.us", None, None, AcrCloud::UsGovernment),
            ("contoso.azurecr.de", None, None, AcrCloud::GermanyLegacy),
            ("contoso.azurecr.eaglex.ic.gov", None, None, AcrCloud::UsNat),
            (
                "contoso.azurecr.microsoft.scloud",
                None,
                None,
                AcrCloud::UsSec,
            ),
            (
                "contoso.azurecr.sovcloud-azure.fr",
                None,
                None,
                AcrCloud::France,
            ),
            (
                "contoso.azurecr.sovcloud-azure.de",
                None,
                None,
                AcrCloud::Germany,
            ),
            (
                "contoso-d7ezgzevdwfvc8ht.azurecr.io",
                HASH,
                None,
                AcrCloud::Public,
            ),
            (
                "contoso.eastus2.geo.azurecr.io",
                None,
                Some("eastus2"),
                AcrCloud::Public,
            ),
            (
                "contoso-d7ezgzevdwfvc8ht.deloscloudgermanycentral.geo.azurecr.sovcloud-azure.de",
                HASH,
                Some("deloscloudgermanycentral"),
                AcrCloud::Germany,
            ),
        ] {
            let want = AcrHost {
                registry: "contoso",
                hash,
                region,
                cloud,
            };
            assert_eq!(AcrHost::parse(host), Some(want), "{host}");
        }
    }

    #[test]
    fn nothing_else_parses() {
        for (host, why) in [
            ("", "nothing is no host"),
            (
                "contoso.azurecr.io.evil.example",
                "a longer name is another's",
            ),
            (
                "contoso.eastus.geo.azurecr.io.evil.example",
                "geo endpoints' too",
            ),
            ("contoso.evilazurecr.io", "a suffix is whole labels"),
            ("contoso.azurecr.com", "and one that is known"),
            ("contoso.azurecr.io.", "a reference has no root dot"),
            ("evil.contoso.azurecr.io", "there are no names below"),
            (
                "evil.contoso.eastus.geo.azurecr.io",
                "nor below a geo endpoint",
            ),
            (
                "contoso.eastus.data.azurecr.io",
                "a data endpoint is no registry",
            ),
            ("contoso.eastus.azurecr.io", "a region wants its `geo`"),
            ("contoso.geo.azurecr.io", "and `geo` its region"),
            ("contoso..geo.azurecr.io", "which is not empty"),
            ("contoso.east-us.geo.azurecr.io", "and has no hyphen"),
            ("contoso.eastus.notgeo.azurecr.io", "`geo` is a whole label"),
            ("contoso.eastus.geo.geo.azurecr.io", "once"),
            ("azurecr.io", "a registry must be there"),
            (".azurecr.io", "and not be empty"),
            ("acme.azurecr.io", "four characters are no registry"),
            (
                "prod-registry.azurecr.io",
                "what follows a hyphen is a hash, not the name",
            ),
            ("contoso-.azurecr.io", "a hash is not empty"),
            ("contoso-a-b.azurecr.io", "and has no hyphen"),
            ("conto_so.azurecr.io", "a name is letters and digits"),
            ("*.azurecr.io", "a glob is no registry"),
            ("Contoso.azurecr.io", "the caller folds the case"),
            ("contoso.azurecr.io:443", "and drops the port"),
        ] {
            assert_eq!(AcrHost::parse(host), None, "{host}: {why}");
        }
    }

    #[test]
    fn a_registry_name_is_five_to_fifty_letters_and_digits() {
        let (longest, too_long) = ("a".repeat(50), "a".repeat(51));
        for (text, want, why) in [
            ("acme1", true, "five characters are the fewest"),
            ("12345", true, "digits alone will do"),
            (longest.as_str(), true, "fifty are the most"),
            (too_long.as_str(), false, "fifty-one are too many"),
            ("acme", false, "four are too few"),
            ("", false, "as is nothing"),
            ("contoso-hash", false, "the hash is not the name's"),
            ("contoso.azurecr.io", false, "nor is the suffix"),
            ("Contoso", false, "the caller folds the case"),
        ] {
            assert_eq!(is_registry_name(text), want, "{text:?}: {why}");
        }
    }
}
