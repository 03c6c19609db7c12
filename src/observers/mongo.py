"""MongoDB by Sacred's own observer, for Omniboard and others. MONGO_URL=mongodb://HOST:27017/DATABASE sets where."""

import os
from pathlib import Path
from typing import Any

from sacred.observers import MongoObserver

URL = "mongodb://localhost:27017/sacred"
TIMEOUT = 5000  # milliseconds until a server that does not answer is an error


class MongoURLObserver(MongoObserver):
    """Sacred's MongoObserver with the connection that MONGO_URL names."""

    package = "pymongo"

    def __init__(self, folder: Path) -> None:
        """``folder``, the run's, receives what the database refuses at the end.

        Raises:
            pymongo.errors.PyMongoError: the server does not answer.
        """
        import pymongo
        from gridfs import GridFS

        client: Any = pymongo.MongoClient(os.environ.get("MONGO_URL", URL), serverSelectionTimeoutMS=TIMEOUT)
        client.server_info()  # asks the server
        database = client.get_default_database("sacred")
        self.where = f"database {database.name}"
        self.initialize(database["runs"], GridFS(database), metrics_collection=database["metrics"],
                        failure_dir=str(folder))  # fmt: skip
