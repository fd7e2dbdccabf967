//! Tells the store which primary this node follows, without holding the stream up.

use std::sync::Arc;

use store::{PrimaryInfo, Role, Store};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

/// Tells the store which primary this node follows, the latest word only.
#[derive(Debug)]
pub(crate) struct Announcer {
    primary: watch::Sender<Option<PrimaryInfo>>,
    task: JoinHandle<()>,
}

impl Announcer {
    /// Makes the node a replica that is not connected; returns when it is.
    pub(crate) async fn start(store: Arc<Store>) -> Announcer {
        announce(&store, None).await;
        let (primary, mut latest) = watch::channel(None);
        let task = tokio::spawn(async move {
            while latest.changed().await.is_ok() {
                let primary = latest.borrow_and_update().clone();
                announce(&store, primary).await;
            }
        });
        Announcer { primary, task }
    }

    /// The node is connected to this primary, or to none.
    pub(crate) fn announce(&self, primary: Option<PrimaryInfo>) {
        self.primary.send_if_modified(|current| {
            let differs = *current != primary;
            *current = primary;
            differs
        });
    }

    /// Not connected any more; returns when the store knows.
    pub(crate) async fn finish(self) {
        self.announce(None);
        drop(self.primary);
        if let Err(error) = self.task.await {
            tracing::error!("announcing the role ended: {error}");
        }
    }
}

async fn announce(store: &Arc<Store>, primary: Option<PrimaryInfo>) {
    let store = Arc::clone(store);
    let set = spawn_blocking(move || store.set_role(Role::Replica { primary })).await;
    match set {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!("change of the role: {}", error.chain()),
        Err(error) => tracing::error!("change of the role: {error}"),
    }
}
