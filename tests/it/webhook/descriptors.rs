//! When the process may open no more files and sockets: a connection that waits for work gives its place to one that
//! brings some.

use super::server::Place;
use super::{policy, review, secrets};

/// Some twenty are needed for everything but connections.
const DESCRIPTORS: usize = 48;

#[test]
fn without_descriptors_the_longest_idle_connection_gives_way() {
    let place = Place::with(&policy(&[("docker.io", "one")]));
    let server = place.start_with_descriptors(DESCRIPTORS);
    server.until_ready();
    let pod = review("shop", &["nginx"]);
    let mut clients = Vec::new();
    for _ in 0..2 * DESCRIPTORS {
        let mut client = server.client();
        assert_eq!(secrets(&client.ask(&pod)), ["one"], "each is served");
        clients.push(client);
    }
    let (oldest, youngest) = clients.split_at_mut(DESCRIPTORS);
    for client in oldest {
        client.closed().unwrap();
    }
    let last = youngest.last_mut().unwrap();
    assert_eq!(secrets(&last.ask(&pod)), ["one"], "it stays");
    let log = server.log();
    assert!(log.contains("the limit on open files is too low"), "{log}");
}
