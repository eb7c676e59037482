//! What the suites share: one list of cases, from which come the tests, their names, and the check
//! that no case is missing.

/// Defines a suite of the module `$module`: `CASES`, the macro `$suite!`, and the check.
///
/// The first token is a dollar sign, for the macro that this one writes.
macro_rules! suite {
    (
        $d:tt $(#[$attribute:meta])*
        $suite:ident of $module:ident: $($group:ident { $($case:ident)* })*
    ) => {
        /// All cases as `(group, case)`.
        pub const CASES: &[(&str, &str)] = &[$($((stringify!($group), stringify!($case)),)*)*];

        $(#[$attribute])*
        ///
        /// Generates one `#[test]` per case of the named groups: `name::group::case`. The first
        /// argument names the module, the second makes a fixture; then come the groups that the
        /// fixture supports.
        #[macro_export]
        macro_rules! $suite {
            ($d name:ident, $d fixture:expr, $d($d group:ident),+ $d(,)?) => {
                mod $d name {
                    #[allow(unused_imports, reason = "the fixture may stand beside the suite")]
                    use super::*;
                    $d($crate::$suite! { @group $d group, $d fixture })+
                }
            };
            $((@group $group, $d fixture:expr) => {
                mod $group {
                    #[allow(unused_imports, reason = "the fixture may stand beside the suite")]
                    use super::*;
                    $(
                        #[test]
                        fn $case() {
                            $crate::run(async || $crate::$module::$group::$case($d fixture).await);
                        }
                    )*
                }
            };)*
            // Calls another macro with the whole list.
            (@list $d with:ident) => {
                $d with! { $($group { $($case)* })* }
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

pub(crate) use suite;

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
    }
}

#[cfg(test)]
fn declared<'s>(source: &'s str, before: &str, after: char) -> Vec<&'s str> {
    let lines = source.lines().filter_map(|line| line.strip_prefix(before));
    lines.filter_map(|rest| rest.split(after).next()).collect()
}
