//! Tests of the policy: examples from the documentation, and properties.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|t| Pattern::parse(t).unwrap()).collect()
}

fn user(name: &str, rules: Vec<Rule>) -> User {
    User {
        access_key: name.into(),
        secret_key: Secret::new("correct horse battery"),
        rules,
        store_credentials: None,
    }
}

fn rule(buckets: &[&str], prefixes: &[&str], actions: &[Action]) -> Rule {
    Rule {
        buckets: patterns(buckets),
        prefixes: prefixes.iter().map(ToString::to_string).collect(),
        actions: actions.iter().copied().collect(),
    }
}

fn ask(rules: Vec<Rule>, need: Need) -> Result<Permit, Denied> {
    let policy = Policy::new([user("u", rules)], ["burnt".to_owned()]).unwrap();
    policy.permit(policy.user("u").unwrap(), [need])
}

#[test]
fn allowed_buckets_grant_everything_on_those_and_nothing_elsewhere() {
    let rules = vec![Rule::everything_on(patterns(&["backups", "logs-*"]))];
    for action in Action::ALL {
        for bucket in ["backups", "logs-", "logs-2026"] {
            assert!(ask(rules.clone(), Need::object(action, bucket, "k")).is_ok());
            assert!(ask(rules.clone(), Need::bucket(action, bucket)).is_ok());
        }
        for bucket in ["backups2", "logs", "Backups", ""] {
            assert_eq!(
                ask(rules.clone(), Need::object(action, bucket, "k")).unwrap_err(),
                Denied::NotGranted(action)
            );
        }
    }
}

#[test]
fn an_append_only_user_adds_and_never_destroys() {
    let rules = vec![rule(&["backups"], &["db/"], &[Action::Write, Action::List])];
    let permit = ask(
        rules.clone(),
        Need::object(Action::Write, "backups", "db/1"),
    )
    .unwrap();
    assert!(!permit.may_overwrite());
    for action in [
        Action::Read,
        Action::Delete,
        Action::Overwrite,
        Action::Admin,
    ] {
        assert!(!permit.permits(&Need::object(action, "backups", "db/1")));
    }
    assert!(!permit.permits(&Need::object(Action::Write, "backups", "d")));
    assert!(!permit.permits(&Need::bucket(Action::Write, "backups")));
}

#[test]
fn overwriting_must_be_granted_on_every_key_written() {
    let rules = vec![
        rule(&["b"], &[], &[Action::Write]),
        rule(&["b"], &["tmp/"], &[Action::Overwrite]),
    ];
    let write = |key: &str| Need::object(Action::Write, "b", key);
    assert!(ask(rules.clone(), write("tmp/x")).unwrap().may_overwrite());
    assert!(!ask(rules.clone(), write("x")).unwrap().may_overwrite());
    let policy = Policy::new([user("u", rules)], []).unwrap();
    let both = policy
        .permit(policy.user("u").unwrap(), [write("tmp/x"), write("x")])
        .unwrap();
    assert!(!both.may_overwrite());
}

#[test]
fn a_listing_must_stay_under_a_granted_prefix() {
    let rules = vec![rule(&["b"], &["db/", "www/"], &[Action::List])];
    for granted in ["db/", "db/2026/", "www/x"] {
        assert!(ask(rules.clone(), Need::list("b", granted)).is_ok());
    }
    for refused in ["", "d", "db", "etc/", "/db/"] {
        assert!(ask(rules.clone(), Need::list("b", refused)).is_err());
    }
}

#[test]
fn any_right_makes_a_bucket_visible() {
    let rules = vec![rule(&["b-*"], &["db/"], &[Action::Write])];
    let permit = ask(rules, Need::list_buckets()).unwrap();
    assert_eq!(
        permit.visible_buckets(["a", "b-1", "b", "b-2"], |name| name),
        ["b-1", "b-2"]
    );
    assert!(permit.permits(&Need::visible("b-1")));
    assert!(!permit.permits(&Need::visible("a")));
}

#[test]
fn service_calls_and_empty_requests_are_closed_to_everyone() {
    let rules = vec![Rule::everything_on(patterns(&["*"]))];
    assert_eq!(
        ask(rules.clone(), Need::service()).unwrap_err(),
        Denied::Service
    );
    let policy = Policy::new([user("u", rules)], []).unwrap();
    assert_eq!(
        policy.permit(policy.user("u").unwrap(), []).unwrap_err(),
        Denied::NothingAsked
    );
}

#[test]
fn blocked_buckets_are_closed_to_everyone() {
    let rules = vec![Rule::everything_on(patterns(&["*"]))];
    for need in [
        Need::object(Action::Read, "burnt", "k"),
        Need::bucket(Action::Admin, "burnt"),
        Need::list("burnt", ""),
        Need::visible("burnt"),
    ] {
        assert_eq!(ask(rules.clone(), need).unwrap_err(), Denied::Blocked);
    }
    let permit = ask(rules, Need::list_buckets()).unwrap();
    assert_eq!(
        permit.visible_buckets(["burnt", "fine"], |name| name),
        ["fine"]
    );
}

#[test]
fn a_hundred_thousand_users_are_found_by_name() {
    let users = (0..100_000).map(|n| user(&format!("user-{n}"), Vec::new()));
    let policy = Policy::new(users, []).unwrap();
    assert_eq!(policy.users(), 100_000);
    assert_eq!(
        policy.user("user-99999").unwrap().access_key,
        "user-99999".to_owned()
    );
    assert!(policy.user("user-100000").is_none());
}

#[test]
fn two_users_of_one_name_are_refused() {
    let twice = [user("u", Vec::new()), user("u", Vec::new())];
    assert_eq!(
        Policy::new(twice, []).unwrap_err(),
        PolicyError::DuplicateUser
    );
}

#[test]
fn debug_output_never_shows_a_secret() {
    let mut secretive = user("u", Vec::new());
    secretive.store_credentials = Some(StoreCredentials {
        access_key: "s".into(),
        secret_key: Secret::new("hunter2 hunter2"),
    });
    let shown = format!("{:?} {:#?}", secretive, Arc::new(secretive.clone()));
    assert!(!shown.contains("horse") && !shown.contains("hunter"));
}

#[test]
fn patterns_are_checked() {
    assert_eq!(Pattern::parse(""), Err(PatternError::Empty));
    assert_eq!(Pattern::parse("a**"), Err(PatternError::DoubleStar));
    assert_eq!(Pattern::parse("a?b"), Err(PatternError::Character('?')));
    assert_eq!(Pattern::parse("a/b"), Err(PatternError::Character('/')));
    assert_eq!(Pattern::parse(&"a".repeat(256)), Err(PatternError::TooLong));
}

#[test]
fn patterns_are_ordered_from_specific_to_general() {
    let mut sorted = patterns(&["*", "a*", "*b", "logs-*", "zz", "a-long-name"]);
    sorted.sort();
    assert_eq!(
        sorted.iter().map(Pattern::as_str).collect::<Vec<_>>(),
        ["a-long-name", "zz", "logs-*", "*b", "a*", "*"]
    );
}

#[test]
fn a_hostile_pattern_takes_no_time() {
    let pattern = Pattern::parse(&"a*".repeat(127)).unwrap();
    let name = format!("{}b", "a".repeat(200_000));
    assert!(pattern.matches(&name));
    let pattern = Pattern::parse(&format!("{}c", "a*".repeat(127))).unwrap();
    assert!(!pattern.matches(&name));
}

/// The obvious matcher, exponential and right.
fn naive(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.first(), name.first()) {
        (None, None) => true,
        (Some(b'*'), _) => {
            naive(&pattern[1..], name) || (!name.is_empty() && naive(pattern, &name[1..]))
        }
        (Some(p), Some(n)) if p == n => naive(&pattern[1..], &name[1..]),
        _ => false,
    }
}

fn any_action() -> impl Strategy<Value = Action> {
    prop::sample::select(Action::ALL.to_vec())
}

fn any_rule() -> impl Strategy<Value = Rule> {
    (
        prop::collection::vec(
            "[ab*]{1,3}".prop_filter_map("pattern", |t| Pattern::parse(&t).ok()),
            1..3,
        ),
        prop::collection::vec("[xy]{1,2}", 0..3),
        prop::collection::vec(any_action(), 0..4),
    )
        .prop_map(|(buckets, prefixes, actions)| Rule {
            buckets,
            prefixes,
            actions: actions.into_iter().collect(),
        })
}

fn any_need() -> impl Strategy<Value = Need> {
    (any_action(), "[ab]{1,3}", "[xy]{0,3}", 0..4).prop_map(
        |(action, bucket, key, kind)| match kind {
            0 => Need::object(action, bucket, key),
            1 => Need::list(bucket, key),
            2 => Need::visible(bucket),
            _ => Need::bucket(action, bucket),
        },
    )
}

proptest! {
    #[test]
    fn globs_match_as_the_obvious_matcher_does(pattern in "[ab*]{1,8}", name in "[ab]{0,10}") {
        if let Ok(parsed) = Pattern::parse(&pattern) {
            prop_assert_eq!(parsed.matches(&name), naive(pattern.as_bytes(), name.as_bytes()));
        }
    }

    #[test]
    fn another_rule_never_takes_a_right_away(
        rules in prop::collection::vec(any_rule(), 0..4),
        extra in any_rule(),
        need in any_need(),
    ) {
        let before = ask(rules.clone(), need.clone()).is_ok();
        let mut more = rules;
        more.push(extra);
        prop_assert!(!before || ask(more, need).is_ok());
    }

    #[test]
    fn a_prefix_never_grants_more_than_the_whole_bucket(
        limited in any_rule(),
        need in any_need(),
    ) {
        let whole = Rule { prefixes: Vec::new(), ..limited.clone() };
        prop_assert!(!limited.grants(&need) || whole.grants(&need));
    }

    #[test]
    fn what_may_be_touched_is_visible(rules in prop::collection::vec(any_rule(), 0..4), need in any_need()) {
        let bucket = need.bucket_name().to_owned();
        if ask(rules.clone(), need).is_ok() {
            prop_assert!(ask(rules, Need::visible(bucket)).is_ok());
        }
    }
}
