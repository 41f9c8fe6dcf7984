//! Where batches come from: a seekable source, read a few batches ahead on a thread.
//!
//! Batches stay on the host until a step uses them, so reading ahead costs no device memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::{BoxError, TrainError};

/// Batches that wait ready; one more is in the making.
const AHEAD: usize = 3;

/// Batches that can be made in any order, so that a run can be resumed anywhere.
pub trait BatchSource<T>: Send + Sync {
    /// How many batches each epoch has.
    fn n_batches(&self) -> usize;

    /// Batch `idx` of `epoch`, both from 0; the same call gives the same batch.
    ///
    /// # Errors
    /// If it cannot be made.
    fn batch(&self, epoch: usize, idx: usize) -> Result<T, BoxError>;
}

/// The batches from some point on, made on a thread.
pub(crate) struct Prefetch<T> {
    receiver: Option<Receiver<Result<T, TrainError>>>,
    thread: Option<JoinHandle<()>>,
    waited: Duration,
}

impl<T: Send + 'static> Prefetch<T> {
    /// Starts at batch `idx` of `epoch`, and goes on to the end of epoch `epochs − 1`.
    pub(crate) fn start(source: Arc<dyn BatchSource<T>>, epoch: usize, idx: usize, epochs: usize) -> Self {
        let (sender, receiver) = sync_channel(AHEAD);
        let thread = std::thread::spawn(move || {
            let n_batches = source.n_batches();
            let first = epoch * n_batches + idx;
            for (epoch, batch) in (first..epochs * n_batches).map(|at| (at / n_batches, at % n_batches)) {
                let made = catch_unwind(AssertUnwindSafe(|| source.batch(epoch, batch)))
                    .unwrap_or_else(|_| Err("the batch source panicked".into()))
                    .map_err(|source| TrainError::Data { epoch, batch, source });
                let failed = made.is_err();
                // The other end is gone when the run has ended.
                if sender.send(made).is_err() || failed {
                    return;
                }
            }
        });
        Self { receiver: Some(receiver), thread: Some(thread), waited: Duration::ZERO }
    }

    /// The next batch.
    pub(crate) fn next(&mut self) -> Result<T, TrainError> {
        let start = Instant::now();
        let received = self.receiver.as_ref().and_then(|receiver| receiver.recv().ok());
        self.waited += start.elapsed();
        received.unwrap_or(Err(TrainError::NoBatches))
    }

    /// How long batches were waited for since the last call.
    pub(crate) fn take_waited(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        // Closing the channel ends the thread after the batch in the making.
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    struct Counted {
        fail: Option<(usize, usize)>,
        made: Mutex<Vec<(usize, usize)>>,
    }

    impl BatchSource<(usize, usize)> for Counted {
        fn n_batches(&self) -> usize {
            5
        }

        fn batch(&self, epoch: usize, idx: usize) -> Result<(usize, usize), BoxError> {
            if self.fail == Some((epoch, idx)) {
                return Err("no such line".into());
            }
            if let Ok(mut made) = self.made.lock() {
                made.push((epoch, idx));
            }
            Ok((epoch, idx))
        }
    }

    #[test]
    fn it_starts_anywhere_crosses_epochs_and_stays_bounded() {
        let source = Arc::new(Counted { fail: None, made: Mutex::default() });
        let mut prefetch = Prefetch::start(source.clone(), 1, 3, 30);
        for want in [(1, 3), (1, 4), (2, 0)] {
            assert_eq!(prefetch.next().ok(), Some(want));
        }
        drop(prefetch);
        // Three used, AHEAD in the channel, and at most one each before and after the hand-over.
        assert!(source.made.lock().is_ok_and(|made| made.len() <= 3 + AHEAD + 2));
    }

    #[test]
    fn an_error_names_the_batch() {
        let source = Arc::new(Counted { fail: Some((0, 1)), made: Mutex::default() });
        let mut prefetch = Prefetch::start(source, 0, 0, 1);
        assert!(prefetch.next().is_ok());
        assert!(matches!(prefetch.next(), Err(TrainError::Data { epoch: 0, batch: 1, .. })));
    }
}
