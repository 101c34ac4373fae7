//! Rotations with short lifetimes: whoever looked a moment ago still trusts what is served now.

use std::collections::VecDeque;
use std::time::Instant;

use super::*;

#[test]
fn every_certificate_is_trusted_before_during_and_after_its_time() {
    let site = Site::on(Plane::shared());
    site.configure();
    let _controller = site.control(&SHORT);
    wait_until("all is made", || site.is_at_rest());
    // What API servers and webhooks that are late by this much may hold; the controller allows for 2 s.
    let late = Duration::from_millis(1500);
    let mut bundles = VecDeque::new();
    let mut served = VecDeque::new();
    let (mut cas, mut leaves) = (0, 0);
    let mut authority = String::new();
    let end = Instant::now() + Duration::from_secs(45);
    while Instant::now() < end {
        let now = Instant::now();
        for bundle in site.bundles() {
            remember(&mut bundles, bundle, now, late);
        }
        leaves += u32::from(remember(&mut served, site.served().unwrap(), now, late));
        let ca = site.ca().unwrap();
        if ca != authority {
            cas += 1;
            authority = ca;
        }
        for (bundle, _) in &bundles {
            for (leaf, _) in &served {
                accepts(bundle, leaf).unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(cas >= 3 && leaves >= 3, "{cas} CAs, {leaves} certificates");
}

/// Keeps what was seen within `late`; whether it is new.
fn remember(
    seen: &mut VecDeque<(String, Instant)>,
    text: String,
    now: Instant,
    late: Duration,
) -> bool {
    seen.retain(|(_, last)| now < *last + late);
    let known = seen.iter_mut().find(|(known, _)| *known == text);
    if let Some((_, last)) = known {
        *last = now;
        return false;
    }
    seen.push_back((text, now));
    true
}
