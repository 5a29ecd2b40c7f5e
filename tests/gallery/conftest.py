from tests.stores import milvus, place, postgres  # noqa: F401
