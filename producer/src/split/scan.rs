//! Where in a JSON text one element ends, also one that is broken.
//!
//! An element ends where its brackets close. One whose brackets do not is recognised by what cannot stand in any JSON: a
//! line break in a string ends the string; a bracket closes what is open inside of it; and where an object begins in the
//! place of a name, or the bracket of the outer array comes, the element has ended before.

/// Levels whose kinds are known. Readers give up earlier.
const LEVELS: u32 = 128;

/// An element that is being read.
#[derive(Debug)]
pub(super) struct Element {
    depth: u32,
    /// A bit for each level: whether it is an object.
    objects: u128,
    in_string: bool,
    escaped: bool,
    /// Whether a name and its colon stand before.
    expects_value: bool,
    /// It ends with the bracket that closes it; otherwise, before the next comma or bracket of the array.
    closes: bool,
    /// The line breaks inside.
    pub(super) lines: u64,
    /// It was refused already: its bytes are not kept.
    pub(super) is_told: bool,
}

/// What a byte is to an element.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A part of it.
    More,
    /// Its last byte.
    EndsWith,
    /// The first byte behind it.
    EndsBefore,
}

impl Element {
    /// An element that begins with this byte, which is still to be given to [`Element::step`]. Of junk, only the end is sought.
    pub(super) fn new(first: u8, is_junk: bool) -> Self {
        Self {
            depth: 0,
            objects: 0,
            in_string: false,
            escaped: false,
            expects_value: true,
            closes: !is_junk && matches!(first, b'{' | b'['),
            lines: 0,
            is_told: is_junk,
        }
    }

    /// Takes the next byte.
    pub(super) fn step(&mut self, byte: u8, in_array: bool) -> Step {
        if byte == b'\n' {
            self.lines += 1;
        }
        if self.in_string {
            match byte {
                b'\n' => (self.in_string, self.escaped) = (false, false),
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return Step::More;
        }
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => return Step::More,
            b':' => {
                self.expects_value = true;
                return Step::More;
            }
            b',' if self.depth == 0 => return Step::EndsBefore,
            b']' if in_array && !self.holds_array() => return Step::EndsBefore,
            b'{' if self.closes && self.top() == Some(true) && !self.expects_value => return Step::EndsBefore,
            b'{' => self.open(true),
            b'[' => self.open(false),
            b'}' => self.close(true),
            b']' => self.close(false),
            b'"' => self.in_string = true,
            _ => {}
        }
        self.expects_value = false;
        if self.closes && self.depth == 0 { Step::EndsWith } else { Step::More }
    }

    /// Whether the innermost level is an object, if that is known.
    fn top(&self) -> Option<bool> {
        (1..=LEVELS).contains(&self.depth).then(|| self.objects >> (self.depth - 1) & 1 == 1)
    }

    fn holds_array(&self) -> bool {
        let known = self.depth.min(LEVELS);
        self.depth > LEVELS || (self.objects | u128::MAX.checked_shl(known).unwrap_or(0)) != u128::MAX
    }

    fn open(&mut self, is_object: bool) {
        if self.depth < LEVELS {
            let bit = 1 << self.depth;
            self.objects = if is_object { self.objects | bit } else { self.objects & !bit };
        }
        self.depth = self.depth.saturating_add(1);
    }

    /// Closes the innermost level of that kind, and what is open inside of it; without one, everything.
    fn close(&mut self, is_object: bool) {
        while self.depth > 0 {
            let top = self.top();
            self.depth -= 1;
            if top.is_none_or(|top| top == is_object) {
                return;
            }
        }
    }
}
