//! Tables on a terminal.

/// Prints rows under their headings, each column as wide as its widest cell; numbers to the right.
pub(crate) fn print(headings: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or_default()
    };
    let numeric =
        |column: usize| !rows.is_empty() && rows.iter().all(|row| row[column].chars().all(|c| c.is_ascii_digit() || c == '-'));
    let line = |cells: &[String]| {
        let cells: Vec<_> = cells
            .iter()
            .enumerate()
            .map(|(column, cell)| {
                let width = width(column);
                if numeric(column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            })
            .collect();
        println!("{}", cells.join("  ").trim_end());
    };
    line(&headings.iter().map(|heading| (*heading).to_owned()).collect::<Vec<_>>());
    for row in rows {
        line(row);
    }
}
