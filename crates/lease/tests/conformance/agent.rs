//! A Consul of one's own.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::backend::until;

/// `consul agent -dev` on ports of loopback, killed when it is dropped.
pub(crate) struct Agent {
    child: Child,
    program: PathBuf,
    ports: [u16; 5],
    /// Further configuration, in HCL.
    configuration: String,
}

impl Agent {
    /// Starts one, unless this machine has none: then says so, and returns `None`. Under CI that is an error.
    pub(crate) async fn start_unless_absent() -> Option<Agent> {
        Agent::start_with("").await
    }

    /// The same with further configuration, in HCL.
    pub(crate) async fn start_with(configuration: &str) -> Option<Agent> {
        let Some(program) = find() else {
            assert!(
                std::env::var_os("CI").is_none(),
                "there is no consul on PATH, and this is CI"
            );
            eprintln!("SKIPPED: there is no consul on PATH nor in the target directory");
            return None;
        };
        // Ports that were free may be taken before it listens.
        for _ in 0..5 {
            let ports = free_ports();
            let child = launch(&program, ports, configuration);
            let mut agent = Agent {
                child,
                program: program.clone(),
                ports,
                configuration: configuration.to_owned(),
            };
            if agent.is_ready().await {
                return Some(agent);
            }
        }
        panic!("consul does not start");
    }

    /// Of its HTTP API.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[0]))
    }

    /// The port of its HTTP API with TLS.
    pub(crate) fn tls_port(&self) -> u16 {
        self.ports[4]
    }

    pub(crate) fn stop(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// After a kill: again on the same ports, empty.
    pub(crate) async fn start_again(&mut self) {
        self.child = launch(&self.program, self.ports, &self.configuration);
        assert!(self.is_ready().await, "consul does not start again");
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Waits until it has a leader; `false`: it ended.
    async fn is_ready(&mut self) -> bool {
        let address = self.address();
        let server = self.ports[1];
        let child = std::sync::Mutex::new(&mut self.child);
        let mut ended = false;
        until("consul has a leader", Duration::from_secs(30), async || {
            if child.lock().unwrap().try_wait().unwrap().is_some() {
                ended = true;
                return true;
            }
            let answer = http(address, "GET", "/v1/status/leader", "").await;
            // The leader's address, in quotes.
            answer.is_ok_and(|answer| answer.ends_with(&format!(":{server}\"")))
        })
        .await;
        !ended
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, if there is one.
pub(crate) fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Beside the test is the target directory: <target>/debug/deps/<test>.
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).map(PathBuf::from);
    let configured = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(configured)
        .chain(target)
        .map(|directory| directory.join("consul"))
        .find(|program| program.is_file())
}

fn free_ports() -> [u16; 5] {
    let listeners = [(); 5].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn launch(
    program: &PathBuf,
    [http, server, lan, wan, tls]: [u16; 5],
    configuration: &str,
) -> Child {
    Command::new(program)
        .args(["agent", "-dev", "-bind", "127.0.0.1", "-log-level", "error"])
        .args(["-http-port", &http.to_string()])
        .args(["-server-port", &server.to_string()])
        .args(["-serf-lan-port", &lan.to_string()])
        .args(["-serf-wan-port", &wan.to_string()])
        .args(["-https-port", &tls.to_string()])
        .args(["-hcl", configuration])
        .args(["-dns-port=-1", "-grpc-port=-1", "-grpc-tls-port=-1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A request of a stranger. The whole answer, headers too.
pub(crate) async fn http(
    address: SocketAddr,
    method: &str,
    target: &str,
    body: &str,
) -> std::io::Result<String> {
    http_with_token(address, method, target, body, "").await
}

/// The same, with a token.
pub(crate) async fn http_with_token(
    address: SocketAddr,
    method: &str,
    target: &str,
    body: &str,
    token: &str,
) -> std::io::Result<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nX-Consul-Token: {token}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
