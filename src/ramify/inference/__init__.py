"""Text from a model in one call: the Python names of document 003, thin faces over the engine.

A model is given by any name of the registry, a folder or a file inside one, and is loaded once. What is returned is the
completion alone. Settings are GenerationConfig's; unknown ones are refused.
"""

from ramify.decoding.config import GenerationConfig
from ramify.inference.chatting import ChatInterface, InteractiveGenerator, interactive_cli
from ramify.inference.constrained import ConstrainedGenerator
from ramify.inference.generating import batch_generate, generate_text, stream_generate
from ramify.inference.judging import compare_generations, evaluate_generation
from ramify.inference.models import forget_models
from ramify.inference.templates import PromptTemplate, few_shot
from ramify.inference.writing import CreativeWriter
from ramify.quality.filters import OutputFilter

__all__ = [
    "ChatInterface",
    "ConstrainedGenerator",
    "CreativeWriter",
    "GenerationConfig",
    "InteractiveGenerator",
    "OutputFilter",
    "PromptTemplate",
    "batch_generate",
    "compare_generations",
    "evaluate_generation",
    "few_shot",
    "forget_models",
    "generate_text",
    "interactive_cli",
    "stream_generate",
]
