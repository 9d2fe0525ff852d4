"""How the page looks."""

STYLE = """
:root { --ink: #1c2430; --faint: #667181; --line: #e3e7ed; --paper: #f6f7f9; --accent: #2563eb; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1280px; margin: 0 auto; padding: 2.2rem 1.2rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 1.2rem; letter-spacing: -.01em; }
h2 { font-size: 1.05rem; margin: 0 0 .9rem; }
section { background: #fff; border: 1px solid var(--line); border-radius: 12px;
  padding: 1.2rem 1.4rem; margin: 0 0 1.2rem; }
svg { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr));
  gap: .9rem; margin: 0 0 1.2rem; }
.card { background: #fff; border: 1px solid var(--line); border-radius: 12px;
  padding: .85rem 1.1rem; }
.card b { display: block; font-size: 1.75rem; line-height: 1.25; font-weight: 650;
  font-variant-numeric: tabular-nums; }
.card span { color: var(--faint); font-size: .84rem; }
.halves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr));
  gap: 1.2rem; align-items: start; margin: 0 0 1.2rem; }
.halves section { margin: 0; height: 100%; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .34rem .7rem .34rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--faint); font-weight: 500; }
tr:last-child > * { border-bottom: 0; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums;
  padding-right: 0; padding-left: .9rem; }
td.fact { overflow-wrap: anywhere; white-space: pre-wrap; }
summary { cursor: pointer; color: var(--accent); margin-top: .8rem; font-size: .9rem; }
.legend { display: flex; flex-wrap: wrap; gap: .35rem 1.1rem; margin: 0 0 1rem; font-size: .88rem; }
.chip { display: inline-block; width: .85em; height: .85em; border-radius: 3px;
  margin-right: .4em; vertical-align: -.06em; box-shadow: 0 0 0 1px rgba(0,0,0,.18); }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 560px), 1fr));
  gap: 1.1rem 1.4rem; }
.tile { margin: 0; min-width: 0; }
.tile .row { display: grid; grid-auto-columns: minmax(0, 1fr); grid-auto-flow: column; gap: 6px; }
.tile .panel { background: #eef0f3; border-radius: 6px; aspect-ratio: 4 / 3; position: relative;
  display: grid; place-items: center; color: var(--faint); font-size: .8rem; }
.tile img { position: absolute; width: 100%; height: 100%; object-fit: contain;
  border-radius: 6px; transition: transform .12s; }
.tile .panel:hover { z-index: 1; }
.tile .panel:hover img { transform: scale(1.9); }
.tile .panel:first-child img { transform-origin: left center; }
.tile .panel:last-child img { transform-origin: right center; }
.tile figcaption { display: flex; flex-wrap: wrap; gap: 0 1rem; font-size: .82rem;
  color: var(--faint); margin-top: .3rem; }
.tile figcaption span { color: var(--ink); }
.titles { color: var(--faint); font-size: .8rem; margin: 0 0 .3rem; }
.notices { background: #fff4e0; border: 2px solid #d97706; }
.notices p { margin: 0 0 .5rem; }
@media (max-width: 520px) {
  .tile .row { grid-template-columns: repeat(2, 1fr); grid-auto-flow: row; } }
"""
