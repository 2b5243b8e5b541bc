"""The chunk loop: from a control's conditioning and a state to latents, frames and the next state.

In: a `ChunkRequest` (texts, conditioning, steps a stage) and a `PipelineState`. Out: frames, and the state after them.
The denoising loop exists once, here, over any `ModuleRunner`.

Read first: `video_pipeline`, then `pyramid` (stages from coarse to fine), `schedule` (sigmas and steps), `history`
(past latents fed back), `noise` (drawn on the host, keyed by seed, chunk and stage), `frame_decoder` (latents to
frames, a few at a time). `text_conditioning`, `prompt_cache` and `word_hash_tokenizer` read texts, `image_history`
starts from pictures, `pending_chunk` is a chunk whose frames are still being decoded.

Must not know: sockets, sessions, which runner or model it is. Numpy only.
"""
