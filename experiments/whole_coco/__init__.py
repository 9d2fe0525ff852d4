"""All stages on as many photographs as COCO has, on two processes that are killed."""
