"""Who is measured, each in a process of its own: ours, transformers, OpenVINO GenAI, llama.cpp."""
