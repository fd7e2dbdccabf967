

# Below this line: what the author of the project wrote.

import os

INSTALLED_APPS += ["diary"]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["DATABASE"],
        "OPTIONS": {"timeout": float(os.environ.get("DATABASE_TIMEOUT", "20"))},
    }
}
if "DATABASE_INIT" in os.environ:
    DATABASES["default"]["OPTIONS"]["init_command"] = os.environ["DATABASE_INIT"]
