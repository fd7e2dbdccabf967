//! A process that can be stopped and continued, as by SIGSTOP and SIGCONT.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// Stops and continues a process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signals(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    waker: Option<Waker>,
}

impl Signals {
    pub(crate) fn stop(&self) {
        self.0.lock().unwrap().stopped = true;
    }

    pub(crate) fn resume(&self) {
        let mut state = self.0.lock().unwrap();
        state.stopped = false;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// That process, under these signals.
    pub(crate) fn govern(&self, process: impl Future<Output = ()> + Send + 'static) -> Governed {
        Governed {
            signals: self.clone(),
            process: Box::pin(process),
        }
    }
}

/// A process that does nothing while it is stopped.
pub(crate) struct Governed {
    signals: Signals,
    process: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Future for Governed {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        {
            let mut state = self.signals.0.lock().unwrap();
            if state.stopped {
                state.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
        }
        self.process.as_mut().poll(context)
    }
}
