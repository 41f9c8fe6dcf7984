//! Where parameters stand in a module.

/// The path of a parameter as model files name it: the names of fields and indices of lists, without the variants of enums.
/// For visitors and mappers, which [`enter`](Self::enter) and [`leave`](Self::leave) what burn shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParamPath(Vec<String>);

impl ParamPath {
    /// On entering a part of a module.
    pub fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.push(name.to_owned());
        }
    }

    /// On leaving it.
    pub fn leave(&mut self, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.pop();
        }
    }

    /// The path, with dots.
    pub fn name(&self) -> String {
        self.0.join(".")
    }
}

#[cfg(test)]
mod tests {
    use super::ParamPath;

    #[test]
    fn variants_are_left_out() {
        let mut path = ParamPath::default();
        for (name, container) in
            [("schemes", "Struct:Stack"), ("0", "Vec"), ("T5", "Enum:Position"), ("table", "Struct:T5")]
        {
            path.enter(name, container);
        }
        assert_eq!(path.name(), "schemes.0.table");
        path.leave("Struct:T5");
        path.leave("Enum:Position");
        assert_eq!(path.name(), "schemes.0");
    }
}
