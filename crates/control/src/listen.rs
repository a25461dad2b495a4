//! The two doors: TCP, with TLS beyond loopback, and the socket in the data folder for who owns it.

mod tls;

use std::{fs, io, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use axum::{Router, extract::connect_info::Connected, serve::IncomingStream};
use rustls::ServerConfig;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

pub use tls::TlsListener;

/// Who is at the other end.
#[derive(Debug, Clone)]
pub enum Peer {
    /// Someone on the network, in plain text.
    Remote(SocketAddr),
    /// Someone on the network, by TLS.
    Encrypted(SocketAddr),
    /// A process of our own user, or root's, on this machine.
    Local {
        /// Its user.
        uid: u32,
        /// Its process.
        pid: i32,
    },
    /// A process of somebody else's: it gets nothing.
    Stranger,
}

impl Connected<IncomingStream<'_, TcpListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self::Remote(*stream.remote_addr())
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        Self::Encrypted(*stream.remote_addr())
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let ours = rustix::process::geteuid().as_raw();
        match stream.io().peer_cred() {
            Ok(c) if c.uid() == ours || c.uid() == 0 => {
                Self::Local { uid: c.uid(), pid: c.pid().unwrap_or(0) }
            }
            Ok(_) | Err(_) => Self::Stranger,
        }
    }
}

/// Opens the socket: 0600, in place of one that a dead process left.
///
/// # Errors
/// As the system says.
pub fn socket(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves on TCP until told to stop.
///
/// # Errors
/// As the listener says.
pub async fn serve_tcp(listener: TcpListener, app: Router, stop: CancellationToken) -> io::Result<()> {
    let service = app.into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// Serves TLS on TCP until told to stop.
///
/// # Errors
/// As the listener says.
pub async fn serve_tls(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    app: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    let service = app.into_make_service_with_connect_info::<Peer>();
    axum::serve(TlsListener::new(listener, config), service)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

/// Serves on the socket until told to stop.
///
/// # Errors
/// As the listener says.
pub async fn serve_socket(listener: UnixListener, app: Router, stop: CancellationToken) -> io::Result<()> {
    let service = app.into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await
}
