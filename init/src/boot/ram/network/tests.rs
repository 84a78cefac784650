use super::*;

fn card(index: u32, name: &str, is_up: bool, has_carrier: bool) -> Change {
    Change::Link(Link { index, name: name.into(), is_card: true, is_up, has_carrier })
}

/// Takes all actions that are due.
fn acts(watch: &mut Watch, now: u64) -> Vec<Act> {
    std::iter::from_fn(|| watch.next(Duration::from_secs(now))).collect()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ask(index: u32, name: &str) -> Act {
    Act::Ask(index, name.into())
}

fn clear(index: u32, name: &str) -> Act {
    Act::Clear(index, name.into())
}

/// Returns a watch with one interface that process 10 asks on.
fn asking() -> Watch {
    let mut watch = Watch::default();
    watch.see(card(2, "eth0", true, true));
    assert_eq!(acts(&mut watch, 0), [ask(2, "eth0")]);
    watch.started(2, Some(10), seconds(0));
    watch
}

#[test]
fn it_is_asked_while_somebody_is_there() {
    let mut watch = Watch::default();
    watch.see(card(2, "eth0", false, false));
    watch.see(card(3, "eth1", false, false));
    assert_eq!(acts(&mut watch, 0), [Act::BringUp("eth0".into()), Act::BringUp("eth1".into())]);
    watch.see(card(2, "eth0", true, false));
    watch.see(card(3, "eth1", true, true));
    assert_eq!(acts(&mut watch, 0), [ask(3, "eth1")]);
    watch.started(3, Some(10), seconds(0));
    watch.see(card(2, "eth0", true, true));
    assert_eq!(acts(&mut watch, 1), [ask(2, "eth0")]);
    watch.started(2, Some(11), seconds(1));
    watch.see(card(2, "eth0", true, true));
    assert_eq!((acts(&mut watch, 1), watch.due()), (vec![], None));

    // The wire is pulled: first what asks ends, then what it set goes, and only then it may be asked again.
    watch.see(card(2, "eth0", true, false));
    assert_eq!(acts(&mut watch, 2), [Act::Stop(11)]);
    watch.see(card(2, "eth0", true, true));
    assert_eq!(acts(&mut watch, 2), []);
    watch.ended(11, seconds(3));
    assert_eq!(acts(&mut watch, 3), [clear(2, "eth0")]);
    watch.started(2, Some(12), seconds(3));
    assert_eq!(acts(&mut watch, 3), []);
    watch.ended(12, seconds(4));
    assert_eq!(acts(&mut watch, 4), [ask(2, "eth0")]);
}

#[test]
fn what_somebody_switched_off_stays_off() {
    // Process 1 may have switched it on before anybody listened.
    for (was_up, first) in [(false, vec![Act::BringUp("eth0".into())]), (true, vec![])] {
        let mut watch = Watch::default();
        watch.see(card(2, "eth0", was_up, false));
        assert_eq!(acts(&mut watch, 0), first);
        watch.see(card(2, "eth0", true, true));
        assert_eq!(acts(&mut watch, 0), [ask(2, "eth0")]);
        watch.started(2, Some(10), seconds(0));
        watch.see(card(2, "eth0", false, false));
        assert_eq!(acts(&mut watch, 1), [Act::Stop(10)]);
        watch.ended(10, seconds(1));
        assert_eq!(acts(&mut watch, 1), [clear(2, "eth0")]);
        watch.started(2, Some(11), seconds(1));
        watch.ended(11, seconds(1));
        assert_eq!((acts(&mut watch, 9), watch.due()), (vec![], None));
    }
}

#[test]
fn what_ends_by_itself_is_started_again_after_a_pause() {
    let mut watch = asking();
    watch.ended(10, seconds(20));
    assert_eq!(acts(&mut watch, 20), [clear(2, "eth0")]);
    watch.started(2, Some(11), seconds(20));
    watch.ended(11, seconds(21));
    assert_eq!((acts(&mut watch, 24), watch.due()), (vec![], Some(seconds(25))));
    assert_eq!(acts(&mut watch, 25), [ask(2, "eth0")]);
    // What would not start at all has to wait as well.
    watch.started(2, None, seconds(25));
    assert_eq!((acts(&mut watch, 26), watch.due()), (vec![], Some(seconds(30))));
    // A wire that is pulled and put back ends the pause.
    watch.see(card(2, "eth0", true, false));
    assert_eq!((acts(&mut watch, 26), watch.due()), (vec![], None));
    watch.see(card(2, "eth0", true, true));
    assert_eq!(acts(&mut watch, 26), [ask(2, "eth0")]);
    watch.started(2, Some(12), seconds(26));
    // Without what clears, the rest goes on.
    watch.see(card(2, "eth0", true, false));
    assert_eq!(acts(&mut watch, 27), [Act::Stop(12)]);
    watch.ended(12, seconds(27));
    assert_eq!(acts(&mut watch, 27), [clear(2, "eth0")]);
    watch.started(2, None, seconds(27));
    watch.see(card(2, "eth0", true, true));
    assert_eq!(acts(&mut watch, 27), [ask(2, "eth0")]);
}

#[test]
fn what_is_pulled_out_is_cleared_and_forgotten() {
    let mut watch = asking();
    watch.see(Change::Gone(2));
    assert_eq!(acts(&mut watch, 1), [Act::Stop(10)]);
    watch.ended(10, seconds(1));
    assert_eq!(acts(&mut watch, 1), [clear(2, "eth0")]);
    watch.started(2, Some(11), seconds(1));
    watch.ended(11, seconds(1));
    assert_eq!(acts(&mut watch, 1), []);
    assert!(watch.known.is_empty());
    watch.see(Change::Gone(2));
    assert!(watch.known.is_empty());
}

#[test]
fn another_name_or_a_master_ends_it() {
    let mut watch = asking();
    watch.see(card(2, "wan", true, true));
    assert_eq!(acts(&mut watch, 1), [Act::Stop(10)]);
    watch.ended(10, seconds(1));
    assert_eq!(acts(&mut watch, 1), [clear(2, "eth0")]);
    watch.started(2, Some(11), seconds(1));
    watch.ended(11, seconds(1));
    assert_eq!(acts(&mut watch, 1), [ask(2, "wan")]);
    watch.started(2, Some(12), seconds(1));
    watch.see(Change::Link(Link { index: 2, name: "wan".into(), is_card: false, is_up: true, has_carrier: true }));
    assert_eq!(acts(&mut watch, 1), [Act::Stop(12)]);
}

#[test]
fn what_is_not_told_again_is_gone() {
    let mut watch = asking();
    watch.see(card(3, "eth1", true, false));
    watch.see(Change::Listed);
    assert_eq!(acts(&mut watch, 1), []);
    watch.see(Change::Lost);
    watch.see(card(3, "eth1", true, true));
    assert_eq!(acts(&mut watch, 1), [ask(3, "eth1")]);
    watch.see(Change::Listed);
    assert_eq!(acts(&mut watch, 1), [Act::Stop(10)]);
}
