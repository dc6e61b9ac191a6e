use super::{Place, table::Table};
pub(crate) fn measure(_: &Place, _: &mut Table) -> anyhow::Result<()> {
    Ok(())
}
