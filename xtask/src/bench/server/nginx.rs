//! nginx as a plain reverse proxy, set up as fast as it goes: kept-alive connections on both sides, no access
//! log, request bodies passed on as they come, answers unbuffered where they are streams.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::{Server, free_port};
use crate::process;

pub struct Nginx {
    /// Buffers answers, as is its default.
    pub buffered: SocketAddr,
    /// `proxy_buffering off`, as streams need it.
    pub unbuffered: SocketAddr,
    pub server: Server,
}

impl Nginx {
    /// Starts it, without root, with everything it writes in `folder`.
    pub fn start(folder: &Path, upstream: SocketAddr) -> anyhow::Result<Self> {
        let folder = std::path::absolute(folder)?;
        fs::create_dir_all(&folder)?;
        let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let (buffered, unbuffered) = (local(free_port()?), local(free_port()?));
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration(&folder, upstream, (buffered, unbuffered)))?;
        let mut command = Command::new(binary()?);
        command.arg("-p").arg(&folder).arg("-c").arg(&file).arg("-e").arg(folder.join("error.log"));
        let mut server = Server::start("nginx", &mut command, &folder)?;
        server.port(buffered)?;
        server.port(unbuffered)?;
        Ok(Self { buffered, unbuffered, server })
    }
}

/// `nginx/1.22.1`, as it says of itself.
pub fn version() -> anyhow::Result<String> {
    let output = Command::new(binary()?).arg("-v").output()?;
    let said = String::from_utf8(output.stderr)?;
    Ok(said.trim().trim_start_matches("nginx version: ").to_owned())
}

fn binary() -> anyhow::Result<PathBuf> {
    // Debian installs it where PATH leads only for root.
    let usual = Some(PathBuf::from("/usr/sbin/nginx")).filter(|file| file.is_file());
    process::find("nginx").or(usual).context("nginx is not installed")
}

fn configuration(
    folder: &Path,
    upstream: SocketAddr,
    (buffered, unbuffered): (SocketAddr, SocketAddr),
) -> String {
    let folder = folder.display();
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("    {kind}_temp_path {folder}/{kind};\n"))
        .collect();
    let server = |listen: SocketAddr, buffering: &str| {
        format!(
            "    server {{
        listen {listen} backlog=4096;
        location / {{
            proxy_pass http://upstream_api;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_request_buffering off;
            proxy_buffering {buffering};
        }}
    }}\n"
        )
    };
    format!(
        "daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{
    worker_connections 8192;
}}
http {{
    access_log off;
    tcp_nodelay on;
    client_max_body_size 64m;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
{paths}    upstream upstream_api {{
        server {upstream};
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
{}{}}}\n",
        server(buffered, "on"),
        server(unbuffered, "off")
    )
}
