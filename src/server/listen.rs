//! A listening socket: IPv6 and IPv4 together where there is IPv6, IPv4 alone where there is not.
//!
//! It binds. It accepts nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that the kernel holds for us while we are busy.
const BACKLOG: i32 = 1024;

/// Listens on `address`; `[::]` stands for every address that the machine has.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let any_v6 = address.is_ipv6() && address.ip().is_unspecified();
    match listen(address) {
        Err(error) if any_v6 && means_no_ipv6(&error) => listen(SocketAddr::new(
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            address.port(),
        )),
        result => result,
    }
}

/// Kernels without IPv6 say it in either way, depending on how it was switched off.
fn means_no_ipv6(error: &io::Error) -> bool {
    error.raw_os_error() == Some(EAFNOSUPPORT) || error.kind() == io::ErrorKind::AddrNotAvailable
}

/// "Address family not supported by protocol"; the standard library gives it no stable kind.
#[cfg(target_os = "linux")]
const EAFNOSUPPORT: i32 = 97;
/// As on Linux.
#[cfg(not(target_os = "linux"))]
const EAFNOSUPPORT: i32 = 47;

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // The default differs between systems.
        socket.set_only_v6(false)?;
    }
    #[cfg(unix)]
    // A restarted server may bind while its predecessor's connections still fade.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_address_means_ipv4_too() {
        let listener = bind("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
