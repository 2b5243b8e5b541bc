"""Helios-14B: its checkpoint's files, its components, and the graphs made of them.

In: a folder or a name on the hub. Out: the graphs that the chunk loop runs, and a plan of the memory they take.

Read first: `layout` (what a checkpoint folder holds), then `components` and `loading`, `graphs` (encoder, denoiser,
decoders as exported), `wan` (the large decoder), `memory_plan` (what fits where). `download` and `files` fetch,
`weights` reads safetensors, `text` and `prompt_encoder` read prompts, `streaming` decodes frame by frame.

Must not know: sessions, runners' details.
"""
