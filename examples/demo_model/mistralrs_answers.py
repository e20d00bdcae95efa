"""Another engine, written in Rust, answers from the same directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from step import EXPECTED, QUESTION, run_step


def ask(build: Path) -> dict[str, Any]:
    """The engine's answer."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from mistralrs import ChatCompletionRequest, ModelDType, Runner, Which

    runner = Runner(which=Which.Plain(model_id=str(build / "tuned"), dtype=ModelDType.F32), token_source="none")
    request = ChatCompletionRequest(
        model="tuned", messages=[{"role": "user", "content": QUESTION}], max_tokens=24, temperature=0.0
    )
    text = runner.send_chat_completion_request(request).choices[0].message.content.strip()
    print(f"> {QUESTION} {text}")
    return {"text": text, "right": EXPECTED in text}


if __name__ == "__main__":
    run_step(ask, __doc__)
