//! One schedule: what goes wrong, and what must be right at the end.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use crate::cluster::Cluster;

/// For how long things go wrong.
const FAULTS_FOR: Duration = Duration::from_secs(40);

/// Beyond two TTLs and the delay after a demotion: a lock-delay of a second, posts, ranks, slow requests.
const SLACK: Duration = Duration::from_secs(6);

/// What has happened that lets an election wait for an operator.
#[derive(Default)]
struct Excuses {
    forced: bool,
    /// When the store was last wiped.
    wiped: Option<Instant>,
}

/// What is to be mended later.
enum Later {
    Store,
    Wire(usize),
    Link(usize, usize),
    Start(usize),
    Resume(usize),
    Loss,
    Stranger,
}

/// Plays the schedule of that seed; what was violated, or what happened.
pub(crate) async fn play(seed: u64) -> Result<String, String> {
    let mut cluster = Cluster::new(seed);
    let mut excuses = Excuses::default();
    wreck(&mut cluster, &mut excuses).await;
    check(&cluster)?;
    cluster.heal();
    if cluster.store_has_a_stranger() {
        cluster.store.intrude(None);
    }
    recover(&mut cluster, &excuses).await;
    check(&cluster)?;
    everybody_stops(&mut cluster).await;
    check(&cluster)?;
    Ok(cluster.world.lock().everything())
}

fn check(cluster: &Cluster) -> Result<(), String> {
    cluster.world.lock().report().map_or(Ok(()), Err)
}

/// Rule: when nothing goes wrong any more there is soon one primary, and everybody follows it.
async fn recover(cluster: &mut Cluster, excuses: &Excuses) {
    let bound = cluster.ttl * 2 + cluster.demote_delay + SLACK;
    // What looks whole may be so only because nobody has noticed yet.
    tokio::time::sleep(cluster.ttl).await;
    let mut settled = settle(cluster, bound - cluster.ttl).await;
    let needs_operator = {
        let last = cluster.store.survey().last_epoch;
        let world = cluster.world.lock();
        excuses.forced
            || world.nobody_ever_led()
            || world.a_loss_is_not_known(last.map_or(0, |last| last.epoch))
    };
    if settled.is_err() && needs_operator && cluster.primaries().is_empty() {
        // What was published is nowhere any more, after an operator did without it: it needs an operator again. Or the
        // first primary of all died between taking the lease and leading: whether it had data nobody knows. Or all
        // processes that knew of a deletion have ended, or a term has, before it was published.
        settled = rescue(cluster).await;
    }
    match settled {
        Ok(primary) => cluster
            .world
            .lock()
            .say(format!("{primary} is the primary of all")),
        Err(why) => {
            describe(cluster);
            let mut world = cluster.world.lock();
            world.violated(format!("no recovery within {bound:?}: {why}"));
        }
    }
}

/// Says what everybody has and does.
fn describe(cluster: &Cluster) {
    for index in 0..cluster.world.count() {
        let status = cluster.status(index);
        let mut world = cluster.world.lock();
        let disk = world.peers[index].disk.positions();
        let epoch = world.peers[index].disk.epoch;
        world.say(format!("{index} has {disk:?} of epoch {epoch}: {status:?}"));
    }
    let store = cluster.store.survey();
    cluster.world.lock().say(format!("{store:?}"));
}

async fn rescue(cluster: &mut Cluster) -> Result<usize, String> {
    let refused = (0..cluster.world.count()).any(|index| {
        cluster
            .status(index)
            .is_some_and(|status| status.refusal.is_some())
    });
    if !refused {
        return Err("there is no primary, and nobody says why".to_owned());
    }
    let candidate = {
        let world = cluster.world.lock();
        let transactions = |index: &usize| {
            let positions = world.peers[*index].disk.positions();
            positions.values().map(|place| place.txid).sum::<u64>()
        };
        (0..world.peers.len())
            .filter(|index| world.peers[*index].me.candidate)
            .max_by_key(transactions)
    };
    if let Some(index) = candidate {
        force(cluster, index).await;
    }
    let bound = cluster.ttl * 2 + SLACK;
    settle(cluster, bound).await
}

/// Waits until there is one primary and everybody follows it.
async fn settle(cluster: &Cluster, bound: Duration) -> Result<usize, String> {
    let by = Instant::now() + bound;
    loop {
        match cluster.is_settled() {
            Ok(primary) => return Ok(primary),
            Err(why) if Instant::now() >= by => return Err(why),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Rule: whoever is to stop stops, and hands over while there is somebody.
async fn everybody_stops(cluster: &mut Cluster) {
    for _ in 0..cluster.world.count() {
        let primaries = cluster.primaries();
        let Some(primary) = primaries.first().copied() else {
            break;
        };
        cluster.stop(primary).await;
        let bound = Duration::from_secs(3) + cluster.ttl * 2;
        let by = Instant::now() + bound;
        while cluster.primaries().is_empty() && Instant::now() < by {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if cluster.primaries().is_empty() {
            describe(cluster);
        }
    }
    for index in 0..cluster.world.count() {
        cluster.stop(index).await;
    }
    let left = cluster.store.survey();
    let released = left.last_epoch.is_some_and(|last| last.released);
    if left.seen.holder != lease::Holder::Vacant || !released || !left.posts.is_empty() {
        cluster
            .world
            .lock()
            .violated(format!("this is left in the store: {left:?}"));
    }
}

/// Things go wrong for a while.
async fn wreck(cluster: &mut Cluster, excuses: &mut Excuses) {
    let count = cluster.world.count();
    for index in 0..count {
        let late = cluster.world.lock().rng.random_bool(0.2);
        if !late {
            cluster.start(index);
        }
    }
    cluster.world.lock().faulty = true;
    let end = Instant::now() + FAULTS_FOR;
    let mut later: Vec<(Instant, Later)> = (0..count)
        .map(|index| (Instant::now() + Duration::from_secs(3), Later::Start(index)))
        .collect();
    // Some schedules have few faults, so that what they lead to has time.
    let pace = cluster.world.lock().rng.random_range(500..6000);
    while Instant::now() < end {
        let pause = cluster.world.lock().rng.random_range(50..pace);
        let wake = Instant::now() + Duration::from_millis(pause);
        let due = later.iter().map(|(at, _)| *at).min();
        if let Some(at) = due.filter(|at| *at < wake) {
            tokio::time::sleep_until(at).await;
        } else {
            tokio::time::sleep_until(wake).await;
            if let Some(mend) = go_wrong(cluster, excuses).await {
                later.push(mend);
            }
        }
        let now = Instant::now();
        let (ripe, rest) = later.into_iter().partition(|(at, _)| *at <= now);
        later = rest;
        for (_, what) in ripe {
            mend(cluster, what);
        }
    }
}

fn mend(cluster: &mut Cluster, what: Later) {
    match what {
        Later::Store => cluster.world.lock().store_is_down = false,
        Later::Wire(index) => cluster.world.lock().peers[index].cut_from_store = false,
        Later::Link(one, other) => cluster.world.lock().cut(one, other, false),
        Later::Start(index) => cluster.start(index),
        Later::Resume(index) => cluster.resume(index),
        Later::Loss => {
            let mut world = cluster.world.lock();
            world.loss = 0.0;
            world.delay = Duration::from_millis(5);
        }
        Later::Stranger => {
            if cluster.store_has_a_stranger() {
                cluster.store.intrude(None);
            }
        }
    }
}

/// Something goes wrong. What is to be done about it, and when.
async fn go_wrong(cluster: &mut Cluster, excuses: &mut Excuses) -> Option<(Instant, Later)> {
    let count = cluster.world.count();
    let (what, index, other, span) = {
        let mut world = cluster.world.lock();
        let what = world.rng.random_range(0..22);
        let index = world.rng.random_range(0..count);
        let other = world.rng.random_range(0..count);
        let span = Duration::from_millis(world.rng.random_range(100..9000));
        (what, index, other, span)
    };
    // Mostly it is the primary that is hit.
    let hit_primary = cluster.world.lock().rng.random_bool(0.6);
    let index = cluster
        .primaries()
        .first()
        .copied()
        .filter(|_| hit_primary)
        .unwrap_or(index);
    let later = |what| Some((Instant::now() + span, what));
    match what {
        0 | 1 => {
            let mut world = cluster.world.lock();
            world.say(format!("{index} is cut from the store"));
            world.peers[index].cut_from_store = true;
            later(Later::Wire(index))
        }
        2 | 3 if index != other => {
            let mut world = cluster.world.lock();
            world.say(format!("{index} and {other} are cut from one another"));
            world.cut(index, other, true);
            later(Later::Link(index, other))
        }
        4 | 5 => {
            if cluster.world.lock().rng.random_bool(0.5) {
                // Nobody knows of it yet, or not everybody.
                cluster.world.lock().create_or_delete(index);
                let pause = cluster.world.lock().rng.random_range(0..200);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            cluster.kill(index);
            if cluster.world.lock().rng.random_bool(0.3) {
                // Its post goes, so that nobody waits for it; its applications go on until the deadline.
                cluster.end_session(index);
            }
            later(Later::Start(index))
        }
        6 => {
            cluster.power_off(index);
            later(Later::Start(index))
        }
        7 => {
            cluster.freeze(index);
            later(Later::Resume(index))
        }
        8 => {
            let mut world = cluster.world.lock();
            world.say("the store is down");
            world.store_is_down = true;
            later(Later::Store)
        }
        9 => {
            let mut world = cluster.world.lock();
            world.loss = world.rng.random_range(0.0..0.5);
            world.delay = Duration::from_millis(world.rng.random_range(1..1500));
            let text = format!("loss {:.2}, delay {:?}", world.loss, world.delay);
            world.say(text);
            later(Later::Loss)
        }
        _ => by_hand(cluster, excuses, what, index, other).await,
    }
}

/// What people do.
async fn by_hand(
    cluster: &mut Cluster,
    excuses: &mut Excuses,
    what: u32,
    index: usize,
    other: usize,
) -> Option<(Instant, Later)> {
    match what {
        10 => wipe(cluster, excuses),
        11 | 12 => hand_off(cluster, index, other),
        18..22 => return hand_off_under_fire(cluster, index, other).await,
        13 => demote(cluster, index),
        14 => {
            let rarely = cluster.world.lock().rng.random_bool(0.3);
            if rarely {
                excuses.forced = true;
                force(cluster, index).await;
            }
        }
        15 => {
            cluster.stop(index).await;
            return Some((Instant::now() + Duration::from_secs(1), Later::Start(index)));
        }
        16 => {
            cluster.world.lock().say("a stranger writes the record");
            cluster.store.intrude(Some("a stranger"));
            return Some((Instant::now() + Duration::from_secs(2), Later::Stranger));
        }
        17 => cluster.end_session(index),
        _ => {}
    }
    None
}

/// The store forgets everything. Not while there is a node that was never part of the cluster: it would take the store
/// for a new one (see `docs/leases.md`). Not twice while requests from before the first time may be under way.
fn wipe(cluster: &Cluster, excuses: &mut Excuses) {
    let now = Instant::now();
    let mut world = cluster.world.lock();
    let all_belong = world
        .peers
        .iter()
        .all(|peer| peer.disk.cluster_id.is_some());
    let lately = excuses
        .wiped
        .is_some_and(|at| now < at + Duration::from_secs(15));
    if all_belong && !lately {
        excuses.wiped = Some(now);
        world.say("the store is wiped");
        world.nothing_is_published();
        drop(world);
        cluster.store.wipe();
    }
}

fn hand_off(cluster: &Cluster, index: usize, other: usize) {
    let to = (index != other).then_some(other as u64 + 1);
    let Some(handle) = cluster.handle(index) else {
        return;
    };
    let world = cluster.world.clone();
    world
        .lock()
        .say(format!("{index} is to hand over to {to:?}"));
    tokio::spawn(async move {
        let answer = handle.handoff(to).await;
        world
            .lock()
            .say(format!("{index} was to hand over to {to:?}: {answer:?}"));
    });
}

/// While a primary hands over something goes wrong at either end.
async fn hand_off_under_fire(
    cluster: &mut Cluster,
    index: usize,
    other: usize,
) -> Option<(Instant, Later)> {
    let primary = cluster.primaries().first().copied()?;
    let (victim, what, pause, span) = {
        let mut world = cluster.world.lock();
        let victim = [primary, other, index][world.rng.random_range(0..3)];
        let what = world.rng.random_range(0..10);
        let pause = world.rng.random_range(0..300);
        (victim, what, pause, world.rng.random_range(100..4000))
    };
    if cluster.world.lock().rng.random_bool(0.3) {
        cluster.world.lock().create_or_delete(primary);
    }
    // Sooner or later than the first step, the second, ...
    hand_off(cluster, primary, other);
    tokio::time::sleep(Duration::from_millis(pause)).await;
    let later = |what| Some((Instant::now() + Duration::from_millis(span), what));
    match what {
        0 => {
            cluster.kill(victim);
            later(Later::Start(victim))
        }
        1 => {
            cluster.freeze(victim);
            later(Later::Resume(victim))
        }
        2 => {
            let mut world = cluster.world.lock();
            world.say(format!("{victim} is cut from the store"));
            world.peers[victim].cut_from_store = true;
            later(Later::Wire(victim))
        }
        3 => {
            cluster.stop(victim).await;
            later(Later::Start(victim))
        }
        4 => {
            cluster.end_session(victim);
            None
        }
        5 => {
            let mut world = cluster.world.lock();
            world.loss = 0.4;
            world.say("loss 0.4");
            later(Later::Loss)
        }
        _ => None,
    }
}

fn demote(cluster: &Cluster, index: usize) {
    let Some(handle) = cluster.handle(index) else {
        return;
    };
    let world = cluster.world.clone();
    world.lock().say(format!("{index} is to be demoted"));
    tokio::spawn(async move {
        let answer = handle.demote().await;
        world
            .lock()
            .say(format!("{index} was to be demoted: {answer:?}"));
    });
}

async fn force(cluster: &Cluster, index: usize) {
    let Some(handle) = cluster.handle(index) else {
        return;
    };
    let answer = tokio::time::timeout(Duration::from_secs(1), handle.promote_by_force()).await;
    let mut world = cluster.world.lock();
    world.say(format!("{index} is forced: {answer:?}"));
    // An order without an answer may be carried out yet.
    world.peers[index].forced |= !matches!(answer, Ok(Err(_)));
}
