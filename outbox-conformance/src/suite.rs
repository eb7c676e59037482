//! What the suites share: one list of cases, from which come the tests, their names, and the check
//! that no case is missing.

/// Defines a suite of the module `$module`: `CASES`, the macro `$suite!`, and the check.
///
/// The first token is a dollar sign, for the macro that this one writes. A case with `[fixtures]`
/// behind its name takes a function that makes fixtures; any other takes a fixture.
macro_rules! suite {
    (
        $d:tt $(#[$attribute:meta])*
        $suite:ident of $module:ident:
        $($group:ident { $($case:ident $([$many:ident])?)* })*
    ) => {
        /// All cases as `(group, case)`.
        pub const CASES: &[(&str, &str)] = &[$($((stringify!($group), stringify!($case)),)*)*];

        /// The ids of the clauses that a case checks, from its documentation.
        #[doc(hidden)]
        #[must_use]
        pub fn clauses(group: &str, case: &str) -> &'static str {
            match group {
                $(stringify!($group) => {
                    $crate::suite::cited(include_str!(concat!(stringify!($group), ".rs")), case)
                })*
                _ => "",
            }
        }

        $(#[$attribute])*
        ///
        /// Generates one `#[test]` per case of the named groups: `name_suite::group::case`. The
        /// first argument names the fixture, the second makes one; then come the groups that the
        /// fixture supports. The name may be that of a crate, such as `redis`.
        #[macro_export]
        macro_rules! $suite {
            ($d name:ident, $d fixture:expr, $d($d group:ident),+ $d(,)?) => {
                $crate::__paste! {
                    mod [<$d name _suite>] {
                        #[allow(unused_imports, reason = "the fixture may be in the parent module")]
                        use super::*;
                        const __SUITE: $crate::Suite = $crate::Suite {
                            package: env!("CARGO_PKG_NAME"),
                            module: stringify!($module),
                            fixture: stringify!($d name),
                            groups: &[$d(stringify!($d group)),+],
                            cases: $crate::$module::CASES,
                        };
                        $d($crate::$suite! { @group $d group, $d fixture })+
                    }
                }
            };
            $((@group $group, $d fixture:expr) => {
                mod $group {
                    #[allow(unused_imports, reason = "the fixture may be in the parent module")]
                    use super::*;
                    $(
                        #[test]
                        fn $case() {
                            let clauses =
                                $crate::$module::clauses(stringify!($group), stringify!($case));
                            let case = $crate::Case::of(super::__SUITE, stringify!($case), clauses);
                            $crate::run_case(&case, async || {
                                let fixture = $crate::__fixture!(($($many)?) $d fixture);
                                $crate::$module::$group::$case(fixture).await;
                            });
                        }
                    )*
                }
            };)*
            // Calls another macro with the whole list.
            (@list $d with:ident) => {
                $d with! { $($group { $($case $([$many])?)* })* }
            };
        }

        #[cfg(test)]
        mod tests {
            #[test]
            fn every_case_function_is_in_the_list() {
                let groups = [$((stringify!($group), include_str!(concat!(stringify!($group), ".rs")))),*];
                $crate::suite::assert_listed(super::CASES, include_str!("mod.rs"), &groups);
            }
        }
    };
}

/// What a case takes: a fixture, or a function that makes fixtures.
#[doc(hidden)]
#[macro_export]
macro_rules! __fixture {
    (() $fixture:expr) => {
        $fixture
    };
    ((fixtures) $fixture:expr) => {
        async || $fixture
    };
}

pub(crate) use suite;

/// The ids at the start of the documentation of a case: `H1, H4` of `/// H1, H4: sentence`.
pub(crate) fn cited<'s>(source: &'s str, case: &str) -> &'s str {
    let begin = format!("pub async fn {case}<");
    let before = source.split(&begin).next().unwrap_or_default();
    let docs = before
        .lines()
        .rev()
        .take_while(|line| line.starts_with("///"));
    let first = docs.last().unwrap_or_default().trim_start_matches("/// ");
    first.split(':').next().unwrap_or_default()
}

/// Asserts that each public module of `parent` is one of `groups`, and that `cases` has each public
/// function of each group.
#[cfg(test)]
pub(crate) fn assert_listed(cases: &[(&str, &str)], parent: &str, groups: &[(&str, &str)]) {
    let modules = declared(parent, "pub mod ", ';');
    let mut names: Vec<&str> = groups.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert_eq!(modules, names, "the groups");
    for (group, source) in groups {
        let listed = cases.iter().filter(|(name, _)| name == group);
        let listed: Vec<&str> = listed.map(|(_, case)| *case).collect();
        assert_eq!(
            declared(source, "pub async fn ", '<'),
            listed,
            "group {group}"
        );
        for case in listed {
            let clauses = cited(source, case);
            assert!(
                clauses.len() > 1 && clauses.len() < 20,
                "{case} cites {clauses:?}"
            );
        }
    }
}

#[cfg(test)]
fn declared<'s>(source: &'s str, before: &str, after: char) -> Vec<&'s str> {
    let lines = source.lines().filter_map(|line| line.strip_prefix(before));
    lines.filter_map(|rest| rest.split(after).next()).collect()
}
