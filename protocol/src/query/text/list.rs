//! What stands side by side in a group, and how it belongs together.

use crate::query::{Bool, Clause, Kind};

/// What stands between two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    And,
    Or,
}

/// What stands in front of an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    None,
    /// `+`
    Must,
    /// `-`: excludes from the whole group.
    Exclude,
    /// `NOT`: beside an `OR`, all that do not match; else as `-`.
    Not,
}

/// Operands that `AND` joins; mostly one.
struct Item {
    operands: Vec<(Sign, Clause)>,
    beside_or: bool,
}

/// The operands of one group.
pub(super) struct List {
    items: Vec<Item>,
    /// The last operator that waits for its right side, and where it stands.
    pending: Option<(Operator, usize)>,
    /// Whether operands side by side are joined by AND.
    all: bool,
}

impl List {
    pub(super) fn new(all: bool) -> Self {
        Self { items: Vec::new(), pending: None, all }
    }

    /// Notes an operator; `false` if it has no left side, and counts for nothing.
    pub(super) fn join(&mut self, operator: Operator, position: usize) -> bool {
        if self.items.is_empty() || self.pending.is_some() {
            return false;
        }
        self.pending = Some((operator, position));
        true
    }

    /// Where an operator waits for its right side.
    pub(super) fn dangling(&self) -> Option<usize> {
        self.pending.map(|(_, position)| position)
    }

    pub(super) fn push(&mut self, sign: Sign, operand: Option<Clause>) {
        let operator = self.pending.take().map(|(operator, _)| operator);
        let Some(operand) = operand else { return };
        let last = self.items.last_mut();
        match (operator, last) {
            (Some(Operator::And), Some(last)) => last.operands.push((sign, operand)),
            (operator, last) => {
                let beside_or = operator == Some(Operator::Or);
                if let Some(last) = last.filter(|_| beside_or) {
                    last.beside_or = true;
                }
                self.items.push(Item { operands: vec![(sign, operand)], beside_or });
            }
        }
    }

    pub(super) fn into_clause(self) -> Option<Clause> {
        let mut group = Bool::default();
        for item in self.items {
            let optional = item.beside_or || !self.all;
            let (sign, clause) = item.into_operand();
            match sign {
                Sign::Must => group.must.push(clause),
                Sign::Exclude | Sign::Not => group.must_not.push(clause),
                Sign::None if optional => group.should.push(clause),
                Sign::None => group.must.push(clause),
            }
        }
        simplify(group)
    }
}

impl Item {
    fn into_operand(mut self) -> (Sign, Clause) {
        if self.operands.len() > 1 {
            let mut group = Bool::default();
            for (sign, clause) in self.operands {
                let side = if matches!(sign, Sign::None | Sign::Must) { &mut group.must } else { &mut group.must_not };
                side.push(clause);
            }
            return (Sign::None, Kind::Bool(group).into());
        }
        match self.operands.pop() {
            Some((Sign::Not, clause)) if self.beside_or => {
                (Sign::None, Kind::Bool(Bool { must_not: clause.into(), ..Bool::default() }).into())
            }
            Some(operand) => operand,
            None => (Sign::None, Kind::Nothing.into()),
        }
    }
}

/// The group as one clause; `None` if it is empty.
fn simplify(mut group: Bool) -> Option<Clause> {
    let counts = (group.must.len(), group.should.len(), group.must_not.len());
    match counts {
        (0, 0, 0) => None,
        (0, 1, 0) => group.should.pop(),
        (1, 0, 0) => group.must.pop(),
        _ => Some(Kind::Bool(group).into()),
    }
}
