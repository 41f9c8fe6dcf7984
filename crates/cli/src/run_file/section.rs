//! Sections with keys of their own beside those of a library's configuration.

use serde::de::{DeserializeOwned, Deserializer, Error};

/// A section: fields that are keys of its own, and after `flattened` one whose keys stand beside them. `name` is a key of
/// that one, by which the message about an unknown key is known.
///
/// Unknown keys are refused, which serde's `flatten` cannot.
macro_rules! section {
    (
        $(#[$meta:meta])*
        pub(crate) struct $Section:ident {
            $($(#[$before_meta:meta])* pub(crate) $before:ident: $Before:ty,)*
            flattened($name:literal)
            $(#[$rest_meta:meta])* pub(crate) $rest:ident: $Rest:ty,
            $($(#[$after_meta:meta])* pub(crate) $after:ident: $After:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        pub(crate) struct $Section {
            $($(#[$before_meta])* pub(crate) $before: $Before,)*
            $(#[$rest_meta])*
            #[serde(flatten)]
            pub(crate) $rest: $Rest,
            $($(#[$after_meta])* pub(crate) $after: $After,)*
        }

        impl<'de> serde::Deserialize<'de> for $Section {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(serde::Deserialize)]
                #[serde(default, deny_unknown_fields)]
                struct Keys {
                    $($before: $Before,)*
                    $($after: $After,)*
                }

                impl Default for Keys {
                    fn default() -> Self {
                        let $Section { $($before,)* $($after,)* .. } = $Section::default();
                        Self { $($before,)* $($after,)* }
                    }
                }

                let own = [$(stringify!($before),)* $(stringify!($after),)*];
                let (Keys { $($before,)* $($after,)* }, $rest) =
                    $crate::run_file::section::split(deserializer, &own, concat!("`", $name, "`"))?;
                Ok(Self { $($before,)* $rest, $($after,)* })
            }
        }
    };
}

pub(super) use section;

/// A table whose named keys make one value and whose other keys make another. Both refuse unknown keys.
pub(super) fn split<'de, D: Deserializer<'de>, Own: DeserializeOwned, Rest: DeserializeOwned>(
    deserializer: D,
    own_keys: &[&str],
    a_rest_key: &str,
) -> Result<(Own, Rest), D::Error> {
    let table = <toml::Table as serde::Deserialize>::deserialize(deserializer)?;
    let (own, rest): (toml::Table, toml::Table) =
        table.into_iter().partition(|(key, _)| own_keys.contains(&key.as_str()));
    let own = own.try_into().map_err(Error::custom)?;
    let rest = rest.try_into().map_err(|error: toml::de::Error| {
        // Unknown keys are answered with all keys of the section.
        let text = error.message().to_owned();
        if !text.contains(a_rest_key) {
            return Error::custom(text);
        }
        let own_keys: Vec<String> = own_keys.iter().map(|key| format!("`{key}`")).collect();
        Error::custom(text.replace("expected one of ", &format!("expected one of {}, ", own_keys.join(", "))))
    })?;
    Ok((own, rest))
}
