package app

import "github.com/google/uuid"

// Object keys in the media bucket. Every key starts with its tenant, so that
// a prefix is all that a policy, an inventory or a deletion of one tenant
// needs.

// OriginalKey is the key of an uploaded image.
func OriginalKey(tenant, image uuid.UUID) string {
	return imagePrefix(tenant, image) + "original"
}

// RenditionKey is the key of a rendition of an image. sum is the lower-case
// hex SHA-256 of its bytes and extension the file name's end for its type,
// "jpg" or "png": the same bytes always have the same key.
func RenditionKey(tenant, image uuid.UUID, sum, extension string) string {
	return imagePrefix(tenant, image) + "renditions/" + sum + "." + extension
}

// VideoKey is the key of an uploaded video.
func VideoKey(tenant, video uuid.UUID) string {
	return "tenants/" + tenant.String() + "/videos/" + video.String()
}

func imagePrefix(tenant, image uuid.UUID) string {
	return "tenants/" + tenant.String() + "/images/" + image.String() + "/"
}
