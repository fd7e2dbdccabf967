//! A TCP proxy whose connections can be cut, or fall silent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pass,
    /// Takes what comes and passes nothing on, as a network does from which a cable was pulled.
    Silent,
    Cut,
}

pub struct Proxy {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    mode: watch::Sender<Mode>,
}

impl Proxy {
    pub async fn start(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, current) = watch::channel(Mode::Pass);
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(target).await else {
                    continue;
                };
                // Before it counts: a cut after that must reach it.
                let mut mode = current.clone();
                let silent = *mode.borrow_and_update() == Mode::Silent;
                count.fetch_add(1, Ordering::Relaxed);
                let (client_read, client_write) = client.into_split();
                let (server_read, server_write) = server.into_split();
                tokio::spawn(pass(client_read, server_write, mode.clone(), silent));
                tokio::spawn(pass(server_read, client_write, mode, silent));
            }
        });
        Proxy {
            address,
            connections,
            mode,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Cuts all connections; new ones pass.
    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
        self.mode.send_replace(Mode::Pass);
    }

    /// All connections fall silent and stay so, also new ones, until [`pass`](Self::pass).
    pub fn fall_silent(&self) {
        self.mode.send_replace(Mode::Silent);
    }

    /// New connections pass. Those that fell silent stay silent.
    pub fn pass(&self) {
        self.mode.send_replace(Mode::Pass);
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut mode: watch::Receiver<Mode>,
    mut silent: bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        tokio::select! {
            biased;
            changed = mode.changed() => {
                if changed.is_err() {
                    return;
                }
                // A cut is followed by a pass at once: a change to pass that is not the end of a silence is a cut.
                match *mode.borrow_and_update() {
                    Mode::Silent => silent = true,
                    Mode::Pass if silent => {}
                    Mode::Pass | Mode::Cut => return,
                }
            }
            read = from.read(&mut buffer) => {
                let Ok(length @ 1..) = read else { return };
                if !silent && to.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
