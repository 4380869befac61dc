"""The guide's blocks that are skills: several tests need them."""

from typing import Final

from tests.docs.blocks import claim

GUIDE: Final = "docs/streaming-responses.md"

STORY: Final = claim(GUIDE, "Building Streaming Skills > Python", "python")
GPT: Final = claim(GUIDE, "Integration with LLMs > OpenAI Integration", "python")
CLAUDE: Final = claim(GUIDE, "Integration with LLMs > Anthropic Integration", "python")
PREMIUM: Final = claim(GUIDE, "Billing for Streams", "python")
