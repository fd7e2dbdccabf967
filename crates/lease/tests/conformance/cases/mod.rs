//! The cases. Each gets an empty store.

pub(crate) mod posts;
pub(crate) mod race;
pub(crate) mod record;
pub(crate) mod strangers;
pub(crate) mod watch;

use std::sync::Arc;
use std::time::Duration;

use lease::{Holder, Leaser, Outcome, Record, Version};

use crate::backend::{Backend, Doing, soon};

type Case = fn(Box<dyn Backend>) -> Doing<'static, ()>;

macro_rules! cases {
    ($($module:ident::$name:ident),* $(,)?) => {
        vec![$((stringify!($name), |backend| Box::pin($module::$name(backend)))),*]
    };
}

/// All of them.
pub(crate) fn all() -> Vec<(&'static str, Case)> {
    cases![
        record::acquire_vacant,
        record::two_at_once,
        record::renew_right_and_wrong,
        record::takeover_of_what_was_watched,
        record::release_is_told,
        record::pass_to_another_session,
        record::the_epoch_is_a_condition,
        record::close_ends_everything,
        record::the_cluster_is_named_once,
        watch::wakes_on_every_change,
        watch::returns_unchanged_after_the_wait,
        watch::vacancies_are_told_apart,
        posts::a_survey_sees_all,
        posts::posts_vanish_with_the_session,
        posts::a_post_is_replaced_and_taken_back,
        posts::large_sets_come_back_whole,
        posts::only_the_holder_publishes,
        strangers::a_foreign_value_is_left_alone,
        strangers::a_strangers_put_loses_the_lease,
        strangers::a_session_ended_outside_loses_the_lease,
        race::no_two_at_a_time,
    ]
}

/// Takes the lease as it is now; it is taken.
pub(crate) async fn take(node: &Arc<dyn Leaser>, record: &Record) -> Version {
    let survey = soon(node.survey()).await;
    version(soon(node.acquire(&survey, record)).await)
}

/// The version of a change that was made.
#[track_caller]
pub(crate) fn version(outcome: Outcome) -> Version {
    match outcome {
        Outcome::Done(version) => version,
        Outcome::Refused => panic!("refused"),
    }
}

/// The lease is held by that record.
pub(crate) async fn assert_held(node: &Arc<dyn Leaser>, by: &Record, at: Version) {
    let seen = soon(node.read()).await;
    let Holder::Node(record, Some(_)) = &seen.holder else {
        panic!("{seen:?}");
    };
    assert_eq!((record, seen.version), (by, at));
}

/// Lets time pass until the lease can be taken.
pub(crate) async fn take_at_last(backend: &dyn Backend, node: &Arc<dyn Leaser>, record: &Record) {
    let taken = async {
        loop {
            let survey = soon(node.survey()).await;
            if soon(node.acquire(&survey, record)).await != Outcome::Refused {
                return;
            }
            // What it is told here is what the refusal may have come from.
            let _ = node.session().await;
            backend.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), taken)
        .await
        .expect("the lease can be taken within 10 s");
}
